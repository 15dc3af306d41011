// SPDX-License-Identifier: Apache-2.0
#include "core/vulkan/device.h"

#include "core/base/alloc.h"
#include "core/vulkan/memory.h"
#include "core/vulkan/vk.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

const char *at_vk_kind_name(enum at_vk_kind kind)
{
    static const char *const names[] = {"other", "integrated GPU", "discrete GPU", "virtual GPU", "CPU"};
    return names[kind];
}

bool at_vk_enumerate(struct at_log *log, struct at_vk_info **infos, size_t *count)
{
    struct at_vk_instance instance;
    VkPhysicalDevice *devices = NULL;
    uint32_t n = 0, family;
    *infos = NULL;
    *count = 0;
    if (!at_vk_instance_init(&instance, log))
        return false;
    bool ok = at_vk_instance_devices(&instance, &devices, &n);
    if (ok) {
        *infos = at_calloc(n, sizeof(**infos));
        ok = *infos || at_fail_memory(log, n * sizeof(**infos));
    }
    struct at_vk_features features;
    for (uint32_t i = 0; ok && i < n; i++)
        ok = at_vk_physical_describe(log, devices[i], &(*infos)[i], &family, &features);
    at_free(devices);
    at_vk_instance_finish(&instance);
    if (!ok) {
        at_free(*infos);
        *infos = NULL;
        return false;
    }
    *count = n;
    return true;
}

static bool contains(const char *text, const char *part)
{
    size_t n = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        while (i < n && text[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            i++;
        if (i == n)
            return true;
    }
    return false;
}

// Greater is better; an unusable device has rank 0.
static int rank(const struct at_vk_info *info)
{
    static const int ranks[] = {[AT_VK_KIND_OTHER] = 2,
                                [AT_VK_KIND_INTEGRATED] = 4,
                                [AT_VK_KIND_DISCRETE] = 5,
                                [AT_VK_KIND_VIRTUAL] = 3,
                                [AT_VK_KIND_CPU] = 1};
    return info->missing[0] ? 0 : ranks[info->kind];
}

static bool is_index(const char *select)
{
    return select[0] && select[strspn(select, "0123456789")] == 0;
}

static bool chosen(const char *select, uint32_t i, const struct at_vk_info *info)
{
    if (!select || strcmp(select, "auto") == 0)
        return true;
    if (is_index(select))
        return strtoull(select, NULL, 10) == i;
    return contains(info->name, select);
}

// Finds the best device that `select` names, and describes it into dev->info.
static bool find(struct at_vk_device *dev, const char *select, uint32_t *family, struct at_vk_features *features)
{
    VkPhysicalDevice *devices = NULL;
    uint32_t n = 0;
    if (!at_vk_instance_devices(&dev->instance, &devices, &n))
        return false;
    int best = -1;
    bool ok = true;
    for (uint32_t i = 0; ok && i < n; i++) {
        struct at_vk_info info;
        uint32_t queue_family;
        ok = at_vk_physical_describe(dev->log, devices[i], &info, &queue_family, features);
        if (!ok || !chosen(select, i, &info) || rank(&info) <= best)
            continue;
        best = rank(&info);
        dev->info = info;
        dev->physical = devices[i];
    }
    at_free(devices);
    if (!ok)
        return false;
    if (best < 0)
        return at_fail(dev->log, AT_ERROR_USAGE, "no Vulkan device answers to \"%s\"; `attune devices` lists all %u",
                       select ? select : "auto", n);
    if (best == 0)
        return at_fail(dev->log, AT_ERROR_DEVICE, "Vulkan device \"%s\" lacks %s; update its driver, or use another",
                       dev->info.name, dev->info.missing);
    // Again, for the chosen one's features.
    return at_vk_physical_describe(dev->log, dev->physical, &dev->info, family, features);
}

static bool create_device(struct at_vk_device *dev, uint32_t family, const struct at_vk_features *features)
{
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    const char *extension = "VK_KHR_portability_subset";
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features->core,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = features->portability ? 1 : 0,
                               .ppEnabledExtensionNames = &extension};
    if (!AT_VK(dev->log, vkCreateDevice(dev->physical, &info, NULL, &dev->handle)))
        return false;
    vkGetDeviceQueue(dev->handle, family, 0, &dev->queue);
    vkGetPhysicalDeviceMemoryProperties(dev->physical, &dev->memory);
    return true;
}

static bool create_queue_objects(struct at_vk_device *dev, uint32_t family)
{
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                    .queueFamilyIndex = family};
    if (!AT_VK(dev->log, vkCreateSemaphore(dev->handle, &semaphore, NULL, &dev->timeline)) ||
        !AT_VK(dev->log, vkCreateCommandPool(dev->handle, &pool, NULL, &dev->pool)))
        return false;
    VkCommandBufferAllocateInfo transfer = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = dev->pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = 1};
    return AT_VK(dev->log, vkAllocateCommandBuffers(dev->handle, &transfer, &dev->transfer));
}

static bool plan_fault(struct at_log *log)
{
    const char *text = getenv("ATTUNE_VK_FAIL_AT");
    if (!text || !*text)
        return true;
    char *end = NULL;
    unsigned long n = strtoul(text, &end, 10);
    bool lost = strcmp(end, ":lost") == 0;
    if (end == text || (*end && !lost))
        return at_fail(log, AT_ERROR_USAGE, "ATTUNE_VK_FAIL_AT=%s: expected a number, \":lost\" may follow it", text);
    at_vk_fail_at(n, lost ? AT_VK_FAULT_LOST : AT_VK_FAULT_MEMORY);
    return true;
}

struct at_vk_device *at_vk_device_open(const struct at_vk_device_params *params)
{
    struct at_vk_device *dev = at_calloc(1, sizeof(*dev));
    if (!dev) {
        at_fail_memory(params->log, sizeof(*dev));
        return NULL;
    }
    dev->log = params->log;
    uint32_t family = 0;
    struct at_vk_features features;
    if (plan_fault(dev->log) && at_vk_instance_init(&dev->instance, dev->log) &&
        find(dev, params->select, &family, &features) && create_device(dev, family, &features) &&
        create_queue_objects(dev, family) && at_vk_pipelines_init(dev)) {
        at_debug(dev->log, "Vulkan device: %s (%s)", dev->info.name, at_vk_kind_name(dev->info.kind));
        return dev;
    }
    at_vk_device_close(&dev);
    return NULL;
}

void at_vk_device_close(struct at_vk_device **pdev)
{
    struct at_vk_device *dev = *pdev;
    if (!dev)
        return;
    if (dev->handle) {
        vkDeviceWaitIdle(dev->handle);
        at_vk_buffer_destroy(&dev->staging);
        at_vk_pipelines_finish(dev);
        vkDestroyCommandPool(dev->handle, dev->pool, NULL);
        vkDestroySemaphore(dev->handle, dev->timeline, NULL);
        vkDestroyDevice(dev->handle, NULL);
    }
    at_vk_instance_finish(&dev->instance);
    at_free(dev);
    *pdev = NULL;
}

const struct at_vk_info *at_vk_device_info(const struct at_vk_device *dev)
{
    return &dev->info;
}

size_t at_vk_validation_errors(const struct at_vk_device *dev, bool *enabled)
{
    if (enabled)
        *enabled = dev->instance.validating;
    return atomic_load(&dev->instance.errors);
}

uint32_t at_vk_workgroup(const struct at_vk_device *dev, uint32_t want)
{
    uint32_t n = 1;
    while (n * 2 <= want && n * 2 <= dev->info.max_workgroup)
        n *= 2;
    return n;
}

void at_vk_grid(const struct at_vk_device *dev, uint64_t groups, uint32_t xyz[3])
{
    for (int d = 0; d < 3; d++) {
        uint64_t most = dev->info.max_groups[d];
        // Even out the parts, so that the product exceeds `groups` by little.
        uint64_t parts = (groups + most - 1) / most;
        uint64_t n = parts ? (groups + parts - 1) / parts : 1;
        xyz[d] = (uint32_t)(n < most ? n : most);
        groups = (groups + xyz[d] - 1) / xyz[d];
    }
}

void at_vk_name(struct at_vk_device *dev, VkObjectType type, uint64_t handle, const char *name)
{
    if (!dev->instance.validating || !name)
        return;
    VkDebugUtilsObjectNameInfoEXT info = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
                                          .objectType = type,
                                          .objectHandle = handle,
                                          .pObjectName = name};
    (void)dev->instance.set_name(dev->handle, &info); // a name lost is no failure
}
