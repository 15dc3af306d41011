// SPDX-License-Identifier: Apache-2.0
// The Vulkan device: a plan becomes one recording a phase, made once and submitted as often as it is run.
//
//     struct at_device *dev = at_vulkan_open(&(struct at_vulkan_params){.select = "auto"}, log);
//
// An op that has no `vulkan` function, a tensor of 2^31 elements or more, or an arena that does not fit fails when the
// executor is created, by name. Results are the same from run to run on one device.
#ifndef CORE_VULKAN_EXECUTOR_H
#define CORE_VULKAN_EXECUTOR_H

#include "core/graph/device.h"

struct at_vk_device;

struct at_vulkan_params {
    const char *select; // as in struct at_vk_device_params; NULL: the best one
};

// NULL on failure; the log says why. Closed by at_device_close, after all stores and executors made on it.
struct at_device *at_vulkan_open(const struct at_vulkan_params *params, struct at_log *log);

// The bare device below.
struct at_vk_device *at_vulkan_device(const struct at_device *dev);
// Barriers between nodes that a phase of an executor's run takes, for tests.
struct at_run;
int at_vulkan_barriers(const struct at_run *run, int phase);

#endif
