// SPDX-License-Identifier: Apache-2.0
// The one translation unit with volk's code: pointers to Vulkan's functions, filled when a device is opened.
#define VOLK_IMPLEMENTATION
#include <volk.h>
