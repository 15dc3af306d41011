// SPDX-License-Identifier: Apache-2.0
// The options that say where and how it is computed.
#ifndef TOOLS_DEVICE_H
#define TOOLS_DEVICE_H

#include "core/graph/device.h"
#include "core/io/json.h"
#include "tools/options.h"

struct at_device_choice {
    const char *device; // "auto", "cpu", "vulkan", "vulkan:1", "vulkan:radeon"
    int threads;        // of the CPU; 0: all
    const char *activations; // "f32", "f16": how a GPU keeps them (core/graph/halve.h)
    const char *weights; // "auto", "f32", "f16", "bf16"; NULL: auto
    bool offload;       // frozen weights stay in host memory
    bool guard;         // stop at the first value that is not finite (core/graph/guard.h)
};

void at_device_options(struct at_options *options, struct at_device_choice *choice);
// NULL on failure. auto: the best hardware GPU, else the CPU; a GPU that does not open is warned about.
struct at_device *at_device_choose(const struct at_device_choice *choice, struct at_log *log);
// "memory" of a result, in bytes: the most of the device's that was taken, by attune's count and by the driver's, of its
// own allocations on the host, and that the process was resident in.
void at_device_put_memory(struct at_json object, const struct at_device *dev);

#endif
