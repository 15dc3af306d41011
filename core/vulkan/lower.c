// SPDX-License-Identifier: Apache-2.0
#include "core/vulkan/lower.h"

#include "core/ops/op.h"

bool at_lower_dispatch(struct at_lower *l, const struct at_lower_dispatch_params *p)
{
    struct at_vk_dispatch_params d = {
        .kernel = p->kernel,
        .constants = p->constants,
        .constant_count = p->constant_count,
        .push = p->push,
        .push_size = p->push_size,
        .groups = {p->grid[0], p->grid[1], p->grid[2]},
        .flops = p->flops,
    };
    if (p->groups)
        at_vk_grid(l->dev, p->groups, d.groups);
    if (!(d.flops > 0)) {
        // Memory traffic weighs as well: a submission is bounded in time, and a byte takes as long as some FLOPs.
        struct at_cost cost = l->node->op->cost(l->node);
        d.flops = cost.flops + 8 * cost.bytes;
    }
    l->dispatches++;
    return at_vk_dispatch(l->commands, &d);
}

void at_lower_barrier(struct at_lower *l)
{
    l->barriers++;
    at_vk_barrier(l->commands);
}

uint32_t at_lower_workgroup(const struct at_lower *l, uint32_t want)
{
    return at_vk_workgroup(l->dev, want);
}

uint64_t at_lower_groups(uint64_t n, uint64_t each)
{
    uint64_t groups = (n + each - 1) / each;
    return groups ? groups : 1;
}

uint64_t at_lower_line(const struct at_lower *l, uint64_t n, uint32_t each)
{
    uint64_t groups = at_lower_groups(n, (uint64_t)each * at_lower_workgroup(l, 256));
    return l->cpu && groups > 64 ? 64 : groups; // a software device has few cores: long strides cost it less
}

uint32_t at_lower_count(struct at_shape s)
{
    return (uint32_t)at_shape_count(s);
}

const char *at_lower_weight(enum at_dtype type)
{
    return type == AT_F16 ? "wf16" : type == AT_BF16 ? "wbf16" : "f32";
}

bool at_lower_wide(uint64_t address)
{
    return address % 16 == 0;
}
