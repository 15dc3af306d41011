// SPDX-License-Identifier: Apache-2.0
// Commands: recorded once, run as often as wanted. A recording is cut into submissions of bounded work, so that no
// driver's watchdog takes a long one for a hang.
//
//     struct at_vk_commands *c = at_vk_commands_begin(dev, NULL);
//     ok = at_vk_dispatch(c, &first) && (at_vk_barrier(c), at_vk_dispatch(c, &second)) && at_vk_commands_end(c);
//     ok = ok && at_vk_run(c);
//     at_vk_commands_destroy(&c);
#ifndef CORE_VULKAN_COMMAND_H
#define CORE_VULKAN_COMMAND_H

#include "core/vulkan/device.h"

#define AT_VK_MAX_CONSTANTS 8
#define AT_VK_MAX_PUSH 128 // bytes

struct at_kernel;
struct at_vk_buffer;
struct at_vk_commands;
struct at_vk_timer;

struct at_vk_commands_params {
    uint32_t max_dispatches; // in one submission; 0: 512
    double max_flops;        // in one submission; 0: 2e10. A single dispatch of more has a submission of its own.
};

// Starts a recording; params may be NULL. NULL on failure.
struct at_vk_commands *at_vk_commands_begin(struct at_vk_device *dev, const struct at_vk_commands_params *params);

struct at_vk_dispatch_params {
    const char *kernel;          // as in shaders/kernels.h: "copy_f32"
    const struct at_kernel *own; // not NULL: this one instead, which outlives the device
    const uint32_t *constants;   // specialization constants 0, 1, ...: 0 is the workgroup's invocations
    uint32_t constant_count;     // 1 ... AT_VK_MAX_CONSTANTS
    const void *push;            // the kernel's push constants, addresses and sizes
    uint32_t push_size;          // bytes, a multiple of 4, at most AT_VK_MAX_PUSH
    uint32_t groups[3];          // workgroups, from at_vk_grid; 0 counts as 1
    double flops;                // estimate, for the cutting into submissions
};

// Records one dispatch. Unless a barrier is recorded between them, two dispatches may run at the same time.
// After a failure every later call on the recording fails too.
AT_NODISCARD bool at_vk_dispatch(struct at_vk_commands *commands, const struct at_vk_dispatch_params *params);
// What is recorded later sees what was recorded earlier.
void at_vk_barrier(struct at_vk_commands *commands);
// A copy of `size` bytes (> 0) inside the device, from one buffer to another or to another part of the same one.
AT_NODISCARD bool at_vk_copy(struct at_vk_commands *commands, struct at_vk_buffer *from, uint64_t from_offset,
                             struct at_vk_buffer *to, uint64_t to_offset, uint64_t size);
// Repeats a 32-bit word over bytes of a buffer; offset and size are multiples of 4, size > 0.
AT_NODISCARD bool at_vk_fill(struct at_vk_commands *commands, struct at_vk_buffer *buffer, uint64_t offset,
                             uint64_t size, uint32_t word);
// Takes timestamp `index` when all before it is done and before anything after it starts.
AT_NODISCARD bool at_vk_timestamp(struct at_vk_commands *commands, struct at_vk_timer *timer, uint32_t index);
// Ends the recording. From now on it can be submitted.
AT_NODISCARD bool at_vk_commands_end(struct at_vk_commands *commands);
// Waits until nothing of it runs. A pointer to NULL is fine.
void at_vk_commands_destroy(struct at_vk_commands **commands);
// Submissions that the recording takes.
size_t at_vk_commands_submissions(const struct at_vk_commands *commands);

// Submits all of a recording, after whatever was submitted before; waits first if it still runs from an earlier time.
// *ticket (may be NULL) is what to wait for. The kernels run in order with earlier recordings.
AT_NODISCARD bool at_vk_submit(struct at_vk_commands *commands, uint64_t *ticket);
// Waits until a ticket's work is done.
AT_NODISCARD bool at_vk_wait(struct at_vk_device *dev, uint64_t ticket);
// Submits and waits.
AT_NODISCARD bool at_vk_run(struct at_vk_commands *commands);

#endif
