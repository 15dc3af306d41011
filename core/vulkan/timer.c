// SPDX-License-Identifier: Apache-2.0
#include "core/vulkan/timer.h"

#include "core/base/alloc.h"
#include "core/vulkan/vk.h"

struct at_vk_timer {
    struct at_vk_device *dev;
    VkQueryPool pool;
    uint32_t count;
};

struct at_vk_timer *at_vk_timer_create(struct at_vk_device *dev, uint32_t count)
{
    if (dev->info.timestamp_bits == 0) {
        at_fail(dev->log, AT_ERROR_DEVICE, "\"%s\" has no timestamps", dev->info.name);
        return NULL;
    }
    struct at_vk_timer *timer = at_calloc(1, sizeof(*timer));
    if (!timer) {
        at_fail_memory(dev->log, sizeof(*timer));
        return NULL;
    }
    timer->dev = dev;
    timer->count = count;
    VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TYPE_TIMESTAMP, .queryCount = count};
    if (!AT_VK(dev->log, vkCreateQueryPool(dev->handle, &info, NULL, &timer->pool)))
        at_vk_timer_destroy(&timer);
    return timer;
}

void at_vk_timer_destroy(struct at_vk_timer **ptimer)
{
    struct at_vk_timer *timer = *ptimer;
    if (!timer)
        return;
    at_vk_drain(timer->dev);
    vkDestroyQueryPool(timer->dev->handle, timer->pool, NULL);
    at_free(timer);
    *ptimer = NULL;
}

bool at_vk_timer_record(struct at_vk_timer *timer, VkCommandBuffer commands, uint32_t index)
{
    if (index >= timer->count)
        return at_fail(timer->dev->log, AT_ERROR_FAILED, "timestamp %u of a timer with %u", index, timer->count);
    // Execution order around it, so that the stamp belongs to this place in the recording on every driver.
    at_vk_full_barrier(commands);
    vkCmdResetQueryPool(commands, timer->pool, index, 1);
    vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, timer->pool, index);
    at_vk_full_barrier(commands);
    return true;
}

bool at_vk_timer_read(struct at_vk_timer *timer, uint32_t from, uint32_t to, double *seconds)
{
    struct at_vk_device *dev = timer->dev;
    uint32_t index[2] = {from, to};
    uint64_t ticks[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        if (index[i] >= timer->count)
            return at_fail(dev->log, AT_ERROR_FAILED, "timestamp %u of a timer with %u", index[i], timer->count);
        if (!AT_VK(dev->log, vkGetQueryPoolResults(dev->handle, timer->pool, index[i], 1, sizeof(ticks[i]), &ticks[i],
                                                   sizeof(ticks[i]), VK_QUERY_RESULT_64_BIT)))
            return false;
    }
    uint32_t bits = dev->info.timestamp_bits;
    uint64_t mask = bits >= 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    *seconds = (double)((ticks[1] - ticks[0]) & mask) * dev->info.timestamp_ns * 1e-9;
    return true;
}
