// SPDX-License-Identifier: Apache-2.0
// Lowering: an op's `vulkan` function turns ONE node into dispatches. It is called once, when a plan is compiled.
//
//     static bool lower(struct at_lower *l)
//     {
//         struct push push = {.x = l->in[0], .y = l->out, .n = at_lower_count(l->node->shape)};
//         uint32_t constants[] = {at_lower_workgroup(l, 256), l->node->attr.i[0]};
//         return at_lower_dispatch(l, &(struct at_lower_dispatch_params){
//             .kernel = "act_f32", .constants = constants, .constant_count = 2, .push = &push,
//             .push_size = sizeof(push), .groups = at_lower_groups(push.n, constants[0])});
//     }
//
// The push constants are a C struct beside the op, the same as the kernel's block, its size asserted. The executor
// orders nodes against each other and has refused tensors of 2^31 elements and more; a lowering only puts
// at_lower_barrier between dispatches of its own that depend on each other.
#ifndef CORE_VULKAN_LOWER_H
#define CORE_VULKAN_LOWER_H

#include "core/graph/graph.h"
#include "core/vulkan/command.h"
#include "core/vulkan/device.h"

struct at_lower {
    const struct at_node *node;
    uint64_t in[AT_ARITY]; // addresses, 0 where absent: aligned to 4 bytes (halves too), maybe to no more
    uint64_t out;          // may be in[i] for an `inplace` bit i
    uint64_t scratch;      // 16-byte aligned, the op's `vulkan_scratch` bytes, of undefined contents; 0: none
    const struct at_vk_info *info;
    bool cpu; // a software device: lean kernels, it compiles them at first use
    struct at_log *log;
    struct at_vk_device *dev;
    struct at_vk_commands *commands; // of at_lower_dispatch and at_lower_barrier
    int dispatches, barriers;        // of the node so far
};

struct at_lower_dispatch_params {
    const char *kernel;        // with its storage type: "act_f32"
    const uint32_t *constants; // specialization constants 0, 1, ...; 0 is the workgroup
    uint32_t constant_count;   // 1 .. AT_VK_MAX_CONSTANTS
    const void *push;
    uint32_t push_size; // bytes, a multiple of 4, at most AT_VK_MAX_PUSH
    uint64_t groups;    // workgroups in a line, folded by at_vk_grid for lib/grid.glsl; 0: `grid` is used
    uint32_t grid[3];   // workgroups in x, y, z as they are, within info->max_groups
    double flops;       // of this dispatch; 0: the node's cost
};

// Appends one dispatch. It may run at the same time as the others of the node since the last barrier.
AT_NODISCARD bool at_lower_dispatch(struct at_lower *l, const struct at_lower_dispatch_params *params);
// What the node dispatches from now on sees what it has dispatched so far.
void at_lower_barrier(struct at_lower *l);

// The largest power of two up to `want` that the device takes as a workgroup.
uint32_t at_lower_workgroup(const struct at_lower *l, uint32_t want);
// Workgroups for n items, `each` of them a workgroup; at least 1.
uint64_t at_lower_groups(uint64_t n, uint64_t each);
// Workgroups of 256 for an elementwise kernel that strides over n elements, `each` of them an invocation at a time.
uint64_t at_lower_line(const struct at_lower *l, uint64_t n, uint32_t each);
// Elements of a tensor.
uint32_t at_lower_count(struct at_shape s);
// The part of a kernel's name that says how it reads weights: "f32", "wf16" or "wbf16".
const char *at_lower_weight(enum at_dtype type);
// Whether an address can be read four elements at a time.
bool at_lower_wide(uint64_t address);

#endif
