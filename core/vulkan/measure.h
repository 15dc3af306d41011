// SPDX-License-Identifier: Apache-2.0
// The device's own ceilings, which benches compare with.
#ifndef CORE_VULKAN_MEASURE_H
#define CORE_VULKAN_MEASURE_H

#include "core/vulkan/device.h"

struct at_vk_ceilings {
    double copy; // bytes a second, read plus written, of a large copy by a kernel
    double fma;  // f32 FLOPs a second in registers (a fused multiply-add is two)
};

// Takes about a second, more on a software device. Needs memory for two buffers of up to 256 MiB (CPU: 32 MiB).
AT_NODISCARD bool at_vk_measure(struct at_vk_device *dev, struct at_vk_ceilings *ceilings);

#endif
