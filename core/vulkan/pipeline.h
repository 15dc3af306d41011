// SPDX-License-Identifier: Apache-2.0
// Compute pipelines: a kernel with its specialization constants, made at first use and kept as long as the device.
#ifndef CORE_VULKAN_PIPELINE_H
#define CORE_VULKAN_PIPELINE_H

#include "core/vulkan/device.h"

// Whether the device can run a kernel ("softmax_f16"), judged by the capabilities its SPIR-V declares. If not, *missing
// (may be NULL) names one. False with *missing "the kernel" when there is none of that name.
bool at_vk_kernel_supported(const struct at_vk_device *dev, const char *kernel, const char **missing);

// Pipelines made so far.
size_t at_vk_pipeline_count(const struct at_vk_device *dev);

#endif
