// SPDX-License-Identifier: Apache-2.0
#include "core/vulkan/command.h"

#include "core/base/alloc.h"
#include "core/vulkan/memory.h"
#include "core/vulkan/vk.h"
#include "shaders/kernels.h"

#include <inttypes.h>

#define DEFAULT_DISPATCHES 512
#define DEFAULT_FLOPS 2e10

struct at_vk_commands {
    struct at_vk_device *dev;
    struct at_vk_commands_params limits;
    VkCommandBuffer *parts; // one a submission; the last one is being recorded
    size_t count, capacity;
    uint32_t dispatches; // in the last part
    double flops;        // in the last part
    VkPipeline bound;    // in the last part
    uint64_t ticket;     // of the last submission
    bool recording, failed;
};

void at_vk_full_barrier(VkCommandBuffer commands)
{
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT |
                         VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_READ_BIT,
    };
    VkPipelineStageFlags work = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    vkCmdPipelineBarrier(commands, work, work | VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0, NULL, 0, NULL);
}

bool at_vk_submit_one(struct at_vk_device *dev, VkCommandBuffer commands)
{
    uint64_t value = dev->submitted + 1;
    VkTimelineSemaphoreSubmitInfo timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                              .signalSemaphoreValueCount = 1,
                                              .pSignalSemaphoreValues = &value};
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .pNext = &timeline,
                         .commandBufferCount = 1,
                         .pCommandBuffers = &commands,
                         .signalSemaphoreCount = 1,
                         .pSignalSemaphores = &dev->timeline};
    if (!AT_VK(dev->log, vkQueueSubmit(dev->queue, 1, &info, VK_NULL_HANDLE)))
        return false;
    dev->submitted = value;
    return true;
}

bool at_vk_wait(struct at_vk_device *dev, uint64_t ticket)
{
    if (dev->completed >= ticket)
        return true;
    VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                .semaphoreCount = 1,
                                .pSemaphores = &dev->timeline,
                                .pValues = &ticket};
    if (!AT_VK(dev->log, vkWaitSemaphores(dev->handle, &info, UINT64_MAX)))
        return false;
    dev->completed = ticket;
    return true;
}

void at_vk_drain(struct at_vk_device *dev)
{
    if (dev->completed == dev->submitted)
        return;
    vkDeviceWaitIdle(dev->handle); // a lost device is idle as well
    dev->completed = dev->submitted;
}

static bool end_part(struct at_vk_commands *commands)
{
    return commands->count == 0 || AT_VK(commands->dev->log, vkEndCommandBuffer(commands->parts[commands->count - 1]));
}

// Ends the part that is being recorded, if any, and starts the next.
static bool next_part(struct at_vk_commands *commands)
{
    struct at_vk_device *dev = commands->dev;
    if (!end_part(commands))
        return false;
    if (!at_grow((void **)&commands->parts, &commands->capacity, commands->count + 1, sizeof(VkCommandBuffer)))
        return at_fail_memory(dev->log, (commands->count + 1) * sizeof(VkCommandBuffer));
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = dev->pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = 1};
    if (!AT_VK(dev->log, vkAllocateCommandBuffers(dev->handle, &info, &commands->parts[commands->count])))
        return false;
    commands->count++;
    commands->dispatches = 0;
    commands->flops = 0;
    commands->bound = VK_NULL_HANDLE;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    return AT_VK(dev->log, vkBeginCommandBuffer(commands->parts[commands->count - 1], &begin));
}

struct at_vk_commands *at_vk_commands_begin(struct at_vk_device *dev, const struct at_vk_commands_params *params)
{
    struct at_vk_commands *commands = at_calloc(1, sizeof(*commands));
    if (!commands) {
        at_fail_memory(dev->log, sizeof(*commands));
        return NULL;
    }
    commands->dev = dev;
    commands->recording = true;
    if (params)
        commands->limits = *params;
    if (commands->limits.max_dispatches == 0)
        commands->limits.max_dispatches = DEFAULT_DISPATCHES;
    if (!(commands->limits.max_flops > 0))
        commands->limits.max_flops = DEFAULT_FLOPS;
    if (!next_part(commands)) {
        at_vk_commands_destroy(&commands);
        return NULL;
    }
    at_vk_barrier(commands);
    return commands;
}

void at_vk_commands_destroy(struct at_vk_commands **pcommands)
{
    struct at_vk_commands *commands = *pcommands;
    if (!commands)
        return;
    struct at_vk_device *dev = commands->dev;
    at_vk_drain(dev);
    if (commands->count)
        vkFreeCommandBuffers(dev->handle, dev->pool, (uint32_t)commands->count, commands->parts);
    at_free(commands->parts);
    at_free(commands);
    *pcommands = NULL;
}

// Whether more can be recorded.
static bool open_for(struct at_vk_commands *commands, const char *what)
{
    if (commands->failed)
        return false;
    if (!commands->recording) {
        commands->failed = true;
        return at_fail(commands->dev->log, AT_ERROR_FAILED, "%s after the end of the recording", what);
    }
    return true;
}

// Remembers a failure for all that follows.
static bool result(struct at_vk_commands *commands, bool ok)
{
    commands->failed |= !ok;
    return ok;
}

static bool check_dispatch(struct at_vk_device *dev, const struct at_vk_dispatch_params *p, const char *name)
{
    if (p->constant_count < 1 || p->constant_count > AT_VK_MAX_CONSTANTS || p->push_size > AT_VK_MAX_PUSH ||
        p->push_size % 4 || p->push_size == 0)
        return at_fail(dev->log, AT_ERROR_FAILED, "kernel %s: %u constants and %u bytes of push constants do not fit",
                       name, p->constant_count, p->push_size);
    if (p->constants[0] == 0 || p->constants[0] > dev->info.max_workgroup)
        return at_fail(dev->log, AT_ERROR_DEVICE, "kernel %s wants %u invocations a workgroup, \"%s\" has up to %u",
                       name, p->constants[0], dev->info.name, dev->info.max_workgroup);
    for (int d = 0; d < 3; d++)
        if (p->groups[d] > dev->info.max_groups[d])
            return at_fail(dev->log, AT_ERROR_DEVICE, "kernel %s: %u workgroups in direction %d, \"%s\" has up to %u",
                           name, p->groups[d], d, dev->info.name, dev->info.max_groups[d]);
    return true;
}

static bool dispatch(struct at_vk_commands *commands, const struct at_vk_dispatch_params *p)
{
    struct at_vk_device *dev = commands->dev;
    const struct at_kernel *kernel = p->own ? p->own : at_kernel_find(p->kernel);
    if (!kernel)
        return at_fail(dev->log, AT_ERROR_FAILED, "there is no kernel \"%s\"", p->kernel);
    if (!check_dispatch(dev, p, kernel->name))
        return false;
    VkPipeline pipeline = at_vk_pipeline_get(dev, kernel, p->constants, p->constant_count);
    if (!pipeline)
        return false;
    if (commands->dispatches &&
        (commands->dispatches >= commands->limits.max_dispatches ||
         commands->flops + p->flops > commands->limits.max_flops) &&
        !next_part(commands))
        return false;
    VkCommandBuffer part = commands->parts[commands->count - 1];
    if (commands->bound != pipeline)
        vkCmdBindPipeline(part, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    commands->bound = pipeline;
    vkCmdPushConstants(part, dev->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, p->push_size, p->push);
    vkCmdDispatch(part, p->groups[0] ? p->groups[0] : 1, p->groups[1] ? p->groups[1] : 1,
                  p->groups[2] ? p->groups[2] : 1);
    commands->dispatches++;
    commands->flops += p->flops;
    return true;
}

bool at_vk_dispatch(struct at_vk_commands *commands, const struct at_vk_dispatch_params *params)
{
    return open_for(commands, "a dispatch") && result(commands, dispatch(commands, params));
}

void at_vk_barrier(struct at_vk_commands *commands)
{
    if (open_for(commands, "a barrier"))
        at_vk_full_barrier(commands->parts[commands->count - 1]);
}

static bool inside(struct at_vk_commands *commands, const struct at_vk_buffer *buffer, uint64_t offset, uint64_t size)
{
    uint64_t all = at_vk_buffer_size(buffer);
    if (size > 0 && offset <= all && size <= all - offset)
        return true;
    return at_fail(commands->dev->log, AT_ERROR_FAILED,
                   "bytes %" PRIu64 " + %" PRIu64 " do not lie in a buffer of %" PRIu64, offset, size, all);
}

bool at_vk_copy(struct at_vk_commands *commands, struct at_vk_buffer *from, uint64_t from_offset,
                struct at_vk_buffer *to, uint64_t to_offset, uint64_t size)
{
    if (!open_for(commands, "a copy") ||
        !result(commands, inside(commands, from, from_offset, size) && inside(commands, to, to_offset, size)))
        return false;
    VkBufferCopy region = {.srcOffset = from_offset, .dstOffset = to_offset, .size = size};
    vkCmdCopyBuffer(commands->parts[commands->count - 1], at_vk_buffer_handle(from), at_vk_buffer_handle(to), 1,
                    &region);
    return true;
}

bool at_vk_fill(struct at_vk_commands *commands, struct at_vk_buffer *buffer, uint64_t offset, uint64_t size,
                uint32_t word)
{
    if (!open_for(commands, "a fill") || !result(commands, inside(commands, buffer, offset, size)))
        return false;
    if (offset % 4 || size % 4)
        return result(commands,
                      at_fail(commands->dev->log, AT_ERROR_FAILED,
                              "a fill of bytes %" PRIu64 " + %" PRIu64 " is not one of whole words", offset, size));
    vkCmdFillBuffer(commands->parts[commands->count - 1], at_vk_buffer_handle(buffer), offset, size, word);
    return true;
}

bool at_vk_timestamp(struct at_vk_commands *commands, struct at_vk_timer *timer, uint32_t index)
{
    return open_for(commands, "a timestamp") &&
           result(commands, at_vk_timer_record(timer, commands->parts[commands->count - 1], index));
}

bool at_vk_commands_end(struct at_vk_commands *commands)
{
    at_vk_barrier(commands);
    if (!open_for(commands, "an end") || !result(commands, end_part(commands)))
        return false;
    commands->recording = false;
    return true;
}

size_t at_vk_commands_submissions(const struct at_vk_commands *commands)
{
    return commands->count;
}

bool at_vk_submit(struct at_vk_commands *commands, uint64_t *ticket)
{
    struct at_vk_device *dev = commands->dev;
    if (commands->failed || commands->recording)
        return at_fail(dev->log, AT_ERROR_FAILED, "a recording that %s cannot be submitted",
                       commands->failed ? "failed" : "has not ended");
    if (!at_vk_wait(dev, commands->ticket))
        return false;
    for (size_t i = 0; i < commands->count; i++) {
        if (!at_vk_submit_one(dev, commands->parts[i]))
            return false;
        commands->ticket = dev->submitted;
    }
    if (ticket)
        *ticket = commands->ticket;
    return true;
}

bool at_vk_run(struct at_vk_commands *commands)
{
    uint64_t ticket;
    return at_vk_submit(commands, &ticket) && at_vk_wait(commands->dev, ticket);
}
