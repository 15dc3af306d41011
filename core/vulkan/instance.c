// SPDX-License-Identifier: Apache-2.0
#include "core/vulkan/vk.h"

#include "core/base/alloc.h"

#include <string.h>

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *priv)
{
    struct at_vk_instance *instance = priv;
    if ((severity & VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT) &&
        (types & VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT)) {
        atomic_fetch_add(&instance->errors, 1);
        at_fail(instance->log, AT_ERROR_FAILED, "Vulkan validation: %s", data->pMessage);
    } else {
        at_debug(instance->log, "Vulkan: %s", data->pMessage);
    }
    return VK_FALSE;
}

static bool find_layer(struct at_log *log, bool *found)
{
    uint32_t n = 0;
    *found = false;
    if (!AT_VK(log, vkEnumerateInstanceLayerProperties(&n, NULL)))
        return false;
    VkLayerProperties *layers = at_calloc(n, sizeof(*layers));
    if (!layers)
        return at_fail_memory(log, n * sizeof(*layers));
    bool ok = AT_VK(log, vkEnumerateInstanceLayerProperties(&n, layers));
    for (uint32_t i = 0; ok && i < n; i++)
        *found |= strcmp(layers[i].layerName, validation_layer) == 0;
    at_free(layers);
    return ok;
}

// Asks the loader (layer NULL) or a layer for an instance extension.
static bool find_extension(struct at_log *log, const char *layer, const char *name, bool *found)
{
    uint32_t n = 0;
    *found = false;
    if (!AT_VK(log, vkEnumerateInstanceExtensionProperties(layer, &n, NULL)))
        return false;
    VkExtensionProperties *extensions = at_calloc(n, sizeof(*extensions));
    if (!extensions)
        return at_fail_memory(log, n * sizeof(*extensions));
    bool ok = AT_VK(log, vkEnumerateInstanceExtensionProperties(layer, &n, extensions));
    for (uint32_t i = 0; ok && i < n; i++)
        *found |= strcmp(extensions[i].extensionName, name) == 0;
    at_free(extensions);
    return ok;
}

// Decides whether the validation layer will be used.
static bool find_validation(struct at_vk_instance *instance)
{
    struct at_log *log = instance->log;
    bool layer = false, utils = false;
    if (!at_vk_env_on("ATTUNE_VK_VALIDATE"))
        return true;
    if (!find_layer(log, &layer) ||
        (layer && (!find_extension(log, validation_layer, VK_EXT_DEBUG_UTILS_EXTENSION_NAME, &utils) ||
                   !find_extension(log, validation_layer, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME, &instance->hazards))))
        return false;
    instance->validating = layer && utils;
    if (!instance->validating)
        at_warn(log, "ATTUNE_VK_VALIDATE is set, but the validation layer is missing: install vulkan-validationlayers");
    return true;
}

static bool load(struct at_log *log)
{
    if (at_vk_env_on("ATTUNE_VK_DISABLE"))
        return at_fail(log, AT_ERROR_DEVICE, "Vulkan is turned off by ATTUNE_VK_DISABLE; unset it, or use the CPU");
    if (volkInitialize() != VK_SUCCESS)
        return at_fail(log, AT_ERROR_DEVICE,
                       "no Vulkan loader: libvulkan.so.1 was not found. Install it (Debian: libvulkan1) and a driver "
                       "(mesa-vulkan-drivers, nvidia-vulkan-icd), or use the CPU");
    if (volkGetInstanceVersion() < VK_API_VERSION_1_1)
        return at_fail(log, AT_ERROR_DEVICE, "the Vulkan loader is older than 1.1: install a newer libvulkan1");
    return true;
}

static bool fail_no_driver(struct at_log *log)
{
    return at_fail(log, AT_ERROR_DEVICE,
                   "no Vulkan device: the loader found no driver. Install one (Debian: mesa-vulkan-drivers for AMD, "
                   "Intel and software; nvidia-vulkan-icd for NVIDIA), or use the CPU");
}

static bool find_debug_utils(struct at_vk_instance *instance)
{
    VkInstance handle = instance->handle;
    instance->create_messenger =
        (PFN_vkCreateDebugUtilsMessengerEXT)vkGetInstanceProcAddr(handle, "vkCreateDebugUtilsMessengerEXT");
    instance->destroy_messenger =
        (PFN_vkDestroyDebugUtilsMessengerEXT)vkGetInstanceProcAddr(handle, "vkDestroyDebugUtilsMessengerEXT");
    instance->set_name =
        (PFN_vkSetDebugUtilsObjectNameEXT)vkGetInstanceProcAddr(handle, "vkSetDebugUtilsObjectNameEXT");
    return (instance->create_messenger && instance->destroy_messenger && instance->set_name) ||
           at_fail(instance->log, AT_ERROR_DEVICE, "the Vulkan loader lacks functions of VK_EXT_debug_utils");
}

static bool create(struct at_vk_instance *instance)
{
    struct at_log *log = instance->log;
    const char *extensions[3];
    uint32_t count = 0;
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = instance,
    };
    const VkValidationFeatureEnableEXT enable = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    VkValidationFeaturesEXT hazards = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                       .pNext = &messenger,
                                       .enabledValidationFeatureCount = 1,
                                       .pEnabledValidationFeatures = &enable};
    VkApplicationInfo app = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "attune", .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app};
    const char *layer = validation_layer;
    bool portability;
    if (!find_validation(instance) ||
        !find_extension(log, NULL, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME, &portability))
        return false;
    if (instance->validating) {
        extensions[count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
        info.enabledLayerCount = 1;
        info.ppEnabledLayerNames = &layer;
        info.pNext = instance->hazards ? (const void *)&hazards : &messenger;
        if (instance->hazards)
            extensions[count++] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;
    }
    if (portability) {
        extensions[count++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
        info.flags |= VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
    }
    info.enabledExtensionCount = count;
    info.ppEnabledExtensionNames = extensions;
    VkResult result = at_vk_fault() ? at_vk_fault_result() : vkCreateInstance(&info, NULL, &instance->handle);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
        return fail_no_driver(log);
    if (!at_vk_check(log, result, "vkCreateInstance"))
        return false;
    volkLoadInstance(instance->handle);
    return !instance->validating ||
           (find_debug_utils(instance) &&
            AT_VK(log, instance->create_messenger(instance->handle, &messenger, NULL, &instance->messenger)));
}

bool at_vk_instance_init(struct at_vk_instance *instance, struct at_log *log)
{
    memset(instance, 0, sizeof(*instance));
    instance->log = log;
    if (load(log) && create(instance))
        return true;
    at_vk_instance_finish(instance);
    return false;
}

void at_vk_instance_finish(struct at_vk_instance *instance)
{
    if (instance->messenger)
        instance->destroy_messenger(instance->handle, instance->messenger, NULL);
    if (instance->handle)
        vkDestroyInstance(instance->handle, NULL);
    instance->messenger = VK_NULL_HANDLE;
    instance->handle = VK_NULL_HANDLE;
}

bool at_vk_instance_devices(struct at_vk_instance *instance, VkPhysicalDevice **devices, uint32_t *count)
{
    struct at_log *log = instance->log;
    *devices = NULL;
    *count = 0;
    if (!AT_VK(log, vkEnumeratePhysicalDevices(instance->handle, count, NULL)))
        return false;
    if (*count == 0)
        return fail_no_driver(log);
    *devices = at_calloc(*count, sizeof(**devices));
    if (!*devices)
        return at_fail_memory(log, *count * sizeof(**devices));
    if (AT_VK(log, vkEnumeratePhysicalDevices(instance->handle, count, *devices)))
        return true;
    at_free(*devices);
    *devices = NULL;
    return false;
}
