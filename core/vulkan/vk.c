// SPDX-License-Identifier: Apache-2.0
#include "core/vulkan/vk.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static atomic_size_t countdown; // 0: no fault planned
static atomic_int fault_kind;
static atomic_bool happened;

void at_vk_fail_at(size_t n, enum at_vk_fault kind)
{
    atomic_store(&fault_kind, (int)kind);
    atomic_store(&happened, false);
    atomic_store(&countdown, n);
}

bool at_vk_failed(void)
{
    return atomic_load(&happened);
}

bool at_vk_fault(void)
{
    size_t left = atomic_load(&countdown);
    if (left == 0)
        return false;
    atomic_store(&countdown, left - 1);
    if (left > 1)
        return false;
    atomic_store(&happened, true);
    return true;
}

VkResult at_vk_fault_result(void)
{
    return atomic_load(&fault_kind) == AT_VK_FAULT_LOST ? VK_ERROR_DEVICE_LOST : VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static const char *describe(VkResult result)
{
    switch ((int)result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        return "out of device memory; a smaller batch or resolution, or another device, may fit";
    case VK_ERROR_INITIALIZATION_FAILED:
        return "the driver could not start (VK_ERROR_INITIALIZATION_FAILED)";
    case VK_ERROR_DEVICE_LOST:
        return "the device was lost: its driver reset it, or it was removed; what was saved before is intact, try "
               "again";
    case VK_ERROR_MEMORY_MAP_FAILED:
        return "memory could not be mapped";
    case VK_ERROR_LAYER_NOT_PRESENT:
        return "a layer is not present";
    case VK_ERROR_EXTENSION_NOT_PRESENT:
        return "an extension is not present";
    case VK_ERROR_FEATURE_NOT_PRESENT:
        return "a feature is not present";
    case VK_ERROR_INCOMPATIBLE_DRIVER:
        return "no driver fits (VK_ERROR_INCOMPATIBLE_DRIVER)";
    case VK_ERROR_TOO_MANY_OBJECTS:
        return "too many objects";
    case VK_TIMEOUT:
        return "time ran out";
    default:
        return NULL;
    }
}

bool at_vk_check(struct at_log *log, VkResult result, const char *call)
{
    if (result == VK_SUCCESS)
        return true;
    int name = (int)strcspn(call, "(");
    const char *text = describe(result);
    if (text)
        return at_fail(log, AT_ERROR_DEVICE, "%.*s: %s", name, call, text);
    return at_fail(log, AT_ERROR_DEVICE, "%.*s failed with VkResult %d", name, call, (int)result);
}

bool at_vk_env_bytes(struct at_log *log, const char *name, uint64_t *value)
{
    const char *text = getenv(name);
    if (!text || !*text)
        return true;
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    const char *units = "KMG", *unit = *end ? strchr(units, *end) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    if (!isdigit((unsigned char)*text) || errno || n == 0 || n > (UINT64_MAX >> shift) || end[unit ? 1 : 0])
        return at_fail(log, AT_ERROR_USAGE, "%s=%s: expected a positive number, K, M or G may follow it", name, text);
    *value = n << shift;
    return true;
}

bool at_vk_env_on(const char *name)
{
    const char *text = getenv(name);
    return text && *text && strcmp(text, "0") != 0;
}
