// SPDX-License-Identifier: Apache-2.0
// Timestamps on the device, for benches.
#ifndef CORE_VULKAN_TIMER_H
#define CORE_VULKAN_TIMER_H

#include "core/vulkan/device.h"

struct at_vk_timer;

// Room for `count` timestamps, taken with at_vk_timestamp. NULL on failure, also when the device has no timestamps
// (at_vk_info.timestamp_bits is 0).
struct at_vk_timer *at_vk_timer_create(struct at_vk_device *dev, uint32_t count);
// A pointer to NULL is fine.
void at_vk_timer_destroy(struct at_vk_timer **timer);
// Seconds from timestamp `from` to timestamp `to`, both taken by work that has completed.
AT_NODISCARD bool at_vk_timer_read(struct at_vk_timer *timer, uint32_t from, uint32_t to, double *seconds);

#endif
