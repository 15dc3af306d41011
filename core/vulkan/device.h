// SPDX-License-Identifier: Apache-2.0
// A Vulkan device for compute. The program starts without any Vulkan; the loader is opened by the first call here.
//
//     struct at_vk_device *dev = at_vk_device_open(&(struct at_vk_device_params){.log = log, .select = "auto"});
//     struct at_vk_buffer *x = at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = 4096});
//     struct at_vk_commands *c = at_vk_commands_begin(dev, NULL);
//     bool ok = at_vk_dispatch(c, &(struct at_vk_dispatch_params){...}) && at_vk_commands_end(c) && at_vk_run(c);
//
// A device and all that belongs to it are used from one thread at a time; open and close devices from one thread.
// Everything made from a device is destroyed before it is closed. Failures are AT_ERROR_DEVICE unless said otherwise.
//
// Environment: ATTUNE_VK_DISABLE=1 behaves as if there were no Vulkan. These lower what a device claims, so that a
// large one can stand in for a small one: ATTUNE_VK_MAX_ALLOC and ATTUNE_VK_HEAP (bytes; K, M and G may follow),
// ATTUNE_VK_MAX_WORKGROUP (invocations), ATTUNE_VK_NO_SUBGROUP=1. ATTUNE_VK_GPU=1 makes a
// software device run the kernels meant for GPUs. ATTUNE_VK_VALIDATE=1 turns the validation layer on:
// each of its errors is a failure in the log. ATTUNE_VK_FAIL_AT=n or n:lost calls at_vk_fail_at when a device is
// opened.
#ifndef CORE_VULKAN_DEVICE_H
#define CORE_VULKAN_DEVICE_H

#include "core/base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct at_vk_device;

enum at_vk_kind {
    AT_VK_KIND_OTHER,
    AT_VK_KIND_INTEGRATED,
    AT_VK_KIND_DISCRETE,
    AT_VK_KIND_VIRTUAL,
    AT_VK_KIND_CPU,
};

// What a physical device is and offers, after the limits of the environment.
struct at_vk_info {
    char name[256], driver[256], driver_info[256];
    enum at_vk_kind kind;
    uint32_t api_version, driver_version, vendor_id, device_id;
    uint8_t uuid[16];        // changes with device and driver build
    char missing[256];       // names of what attune needs and the device lacks; empty: usable
    uint64_t memory;         // bytes of the heap that device buffers come from
    uint64_t max_buffer;     // bytes of the largest buffer, also of one allocation
    uint32_t max_workgroup;  // invocations in a workgroup (one-dimensional)
    uint32_t max_groups[3];  // workgroups of a dispatch
    uint32_t shared_memory;  // bytes a workgroup
    uint32_t subgroup;       // lanes; 1 without subgroup operations
    uint32_t timestamp_bits; // 0: no timestamps
    double timestamp_ns;     // nanoseconds a tick
    bool subgroup_arithmetic, subgroup_shuffle, storage16, float16, int16, int8, int64, scalar_layout, coop_matrix;
};

// "discrete GPU", "CPU" ...
const char *at_vk_kind_name(enum at_vk_kind kind);

// All physical devices in the loader's order into *infos (freed with at_free). False when there is no loader or no
// driver; the log says which package brings it.
AT_NODISCARD bool at_vk_enumerate(struct at_log *log, struct at_vk_info **infos, size_t *count);

struct at_vk_device_params {
    struct at_log *log; // outlives the device
    const char *select; // an index in at_vk_enumerate's order, part of a name (any case), or NULL or "auto":
                        // discrete before integrated, virtual, other and CPU
};

// NULL when no device answers to `select` (AT_ERROR_USAGE), or it lacks something; the log names it.
struct at_vk_device *at_vk_device_open(const struct at_vk_device_params *params);
// Waits for the device, stores the pipeline cache, frees. A pointer to NULL is fine.
void at_vk_device_close(struct at_vk_device **dev);

const struct at_vk_info *at_vk_device_info(const struct at_vk_device *dev);
// Errors of the validation layer since the device was opened; *enabled (may be NULL) says whether it is there at all.
size_t at_vk_validation_errors(const struct at_vk_device *dev, bool *enabled);

// The largest power of two that is at most `want` and that the device accepts as a workgroup.
uint32_t at_vk_workgroup(const struct at_vk_device *dev, uint32_t want);
// Folds `groups` workgroups in a line into x, y, z within the device's limits; kernels unfold it with lib/grid.glsl and
// stride over their work, so x * y * z may be more than asked for, or less if the limits end there. groups > 0.
void at_vk_grid(const struct at_vk_device *dev, uint64_t groups, uint32_t xyz[3]);

enum at_vk_fault {
    AT_VK_FAULT_MEMORY, // out of device memory
    AT_VK_FAULT_LOST,   // device lost
};
// Makes the n-th checked Vulkan call from now fail (1 = the next) without being made; 0 turns it off.
void at_vk_fail_at(size_t n, enum at_vk_fault kind);
// Whether a failure asked for with at_vk_fail_at has happened.
bool at_vk_failed(void);

#endif
