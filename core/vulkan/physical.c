// SPDX-License-Identifier: Apache-2.0
#include "core/vulkan/vk.h"

#include "core/base/alloc.h"

#include <stdio.h>
#include <string.h>

struct extensions {
    bool maintenance4, portability, coop_matrix;
};

static bool find_extensions(struct at_log *log, VkPhysicalDevice physical, struct extensions *out)
{
    uint32_t n = 0;
    if (!AT_VK(log, vkEnumerateDeviceExtensionProperties(physical, NULL, &n, NULL)))
        return false;
    VkExtensionProperties *list = at_calloc(n, sizeof(*list));
    if (!list)
        return at_fail_memory(log, n * sizeof(*list));
    bool ok = AT_VK(log, vkEnumerateDeviceExtensionProperties(physical, NULL, &n, list));
    for (uint32_t i = 0; ok && i < n; i++) {
        const char *name = list[i].extensionName;
        out->maintenance4 |= strcmp(name, "VK_KHR_maintenance4") == 0;
        out->portability |= strcmp(name, "VK_KHR_portability_subset") == 0;
        out->coop_matrix |= strcmp(name, "VK_KHR_cooperative_matrix") == 0;
    }
    at_free(list);
    return ok;
}

static void miss(struct at_vk_info *info, bool present, const char *name)
{
    size_t used = strlen(info->missing);
    if (!present)
        snprintf(info->missing + used, sizeof(info->missing) - used, "%s%s", used ? ", " : "", name);
}

static enum at_vk_kind kind_of(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return AT_VK_KIND_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return AT_VK_KIND_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return AT_VK_KIND_VIRTUAL;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return AT_VK_KIND_CPU;
    default:
        return AT_VK_KIND_OTHER;
    }
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void describe_limits(VkPhysicalDevice physical, const struct extensions *ext, struct at_vk_info *info)
{
    VkPhysicalDeviceMaintenance4Properties m4 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES};
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
                                               .pNext = ext->maintenance4 ? &m4 : NULL};
    VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES,
                                                   .pNext = &driver};
    VkPhysicalDeviceMaintenance3Properties m3 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
                                                 .pNext = &subgroup};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &m3};
    vkGetPhysicalDeviceProperties2(physical, &properties);
    const VkPhysicalDeviceLimits *limits = &properties.properties.limits;
    snprintf(info->driver, sizeof(info->driver), "%s", driver.driverName);
    snprintf(info->driver_info, sizeof(info->driver_info), "%s", driver.driverInfo);
    memcpy(info->uuid, properties.properties.pipelineCacheUUID, sizeof(info->uuid));
    info->max_buffer = m3.maxMemoryAllocationSize;
    if (ext->maintenance4 && m4.maxBufferSize < info->max_buffer)
        info->max_buffer = m4.maxBufferSize;
    info->max_workgroup = min_u32(limits->maxComputeWorkGroupInvocations, limits->maxComputeWorkGroupSize[0]);
    memcpy(info->max_groups, limits->maxComputeWorkGroupCount, sizeof(info->max_groups));
    info->shared_memory = limits->maxComputeSharedMemorySize;
    info->timestamp_ns = limits->timestampPeriod;
    bool compute = subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
    bool basic = compute && (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_BASIC_BIT);
    info->subgroup = basic ? subgroup.subgroupSize : 1;
    info->subgroup_arithmetic = basic && (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT);
    info->subgroup_shuffle = basic && (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT);
}

// Reads the features and leaves in `features` only those to enable.
static void describe_features(VkPhysicalDevice physical, struct at_vk_info *info, struct at_vk_features *features)
{
    struct at_vk_features have = {
        .core = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &have.v11},
        .v11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, .pNext = &have.v12},
        .v12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES},
    };
    vkGetPhysicalDeviceFeatures2(physical, &have.core);
    miss(info, have.v12.bufferDeviceAddress, "bufferDeviceAddress");
    miss(info, have.v12.timelineSemaphore, "timelineSemaphore");
    info->storage16 = have.v11.storageBuffer16BitAccess;
    info->float16 = have.v12.shaderFloat16;
    info->int8 = have.v12.shaderInt8;
    info->int16 = have.core.features.shaderInt16;
    info->int64 = have.core.features.shaderInt64;
    info->scalar_layout = have.v12.scalarBlockLayout;
    *features = (struct at_vk_features){
        .core = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                 .features = {.shaderInt16 = info->int16, .shaderInt64 = info->int64}},
        .v11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                .storageBuffer16BitAccess = info->storage16},
        .v12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                .bufferDeviceAddress = have.v12.bufferDeviceAddress,
                .timelineSemaphore = have.v12.timelineSemaphore,
                .shaderFloat16 = info->float16,
                .shaderInt8 = info->int8,
                .scalarBlockLayout = info->scalar_layout},
    };
    features->core.pNext = &features->v11;
    features->v11.pNext = &features->v12;
}

// The first family of queues that computes.
static bool find_family(struct at_log *log, VkPhysicalDevice physical, struct at_vk_info *info, uint32_t *family)
{
    uint32_t n = 0;
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &n, NULL);
    VkQueueFamilyProperties *families = at_calloc(n, sizeof(*families));
    if (!families)
        return at_fail_memory(log, n * sizeof(*families));
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &n, families);
    *family = UINT32_MAX;
    for (uint32_t i = 0; i < n && *family == UINT32_MAX; i++)
        if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) {
            *family = i;
            info->timestamp_bits = families[i].timestampValidBits;
        }
    miss(info, *family != UINT32_MAX, "a compute queue");
    at_free(families);
    return true;
}

static bool lower_limits(struct at_log *log, struct at_vk_info *info)
{
    uint64_t buffer = info->max_buffer, heap = info->memory, workgroup = info->max_workgroup;
    if (!at_vk_env_bytes(log, "ATTUNE_VK_MAX_ALLOC", &buffer) || !at_vk_env_bytes(log, "ATTUNE_VK_HEAP", &heap) ||
        !at_vk_env_bytes(log, "ATTUNE_VK_MAX_WORKGROUP", &workgroup))
        return false;
    if (buffer < info->max_buffer)
        info->max_buffer = buffer;
    if (heap < info->memory)
        info->memory = heap;
    if (info->max_buffer > info->memory)
        info->max_buffer = info->memory;
    if (workgroup < info->max_workgroup)
        info->max_workgroup = (uint32_t)workgroup;
    if (at_vk_env_on("ATTUNE_VK_GPU") && info->kind == AT_VK_KIND_CPU)
        info->kind = AT_VK_KIND_OTHER;
    if (at_vk_env_on("ATTUNE_VK_NO_SUBGROUP")) {
        info->subgroup = 1;
        info->subgroup_arithmetic = false;
        info->subgroup_shuffle = false;
    }
    return true;
}

bool at_vk_physical_describe(struct at_log *log, VkPhysicalDevice physical, struct at_vk_info *info, uint32_t *family,
                             struct at_vk_features *features)
{
    memset(info, 0, sizeof(*info));
    memset(features, 0, sizeof(*features));
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(physical, &properties);
    snprintf(info->name, sizeof(info->name), "%s", properties.deviceName);
    info->kind = kind_of(properties.deviceType);
    info->api_version = properties.apiVersion;
    info->driver_version = properties.driverVersion;
    info->vendor_id = properties.vendorID;
    info->device_id = properties.deviceID;
    if (properties.apiVersion < VK_API_VERSION_1_2) {
        miss(info, false, "Vulkan 1.2");
        return true;
    }
    struct extensions ext = {0};
    if (!find_extensions(log, physical, &ext))
        return false;
    describe_limits(physical, &ext, info);
    describe_features(physical, info, features);
    features->portability = ext.portability;
    info->coop_matrix = ext.coop_matrix;
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(physical, &memory);
    int type = at_vk_memory_type(&memory, UINT32_MAX, false);
    miss(info, type >= 0, "device-local memory");
    if (type >= 0)
        info->memory = memory.memoryHeaps[memory.memoryTypes[type].heapIndex].size;
    return find_family(log, physical, info, family) && lower_limits(log, info);
}
