// SPDX-License-Identifier: Apache-2.0
// What the files of this folder share: Vulkan's own types, the device's fields, checked calls. Not for others.
#ifndef CORE_VULKAN_VK_H
#define CORE_VULKAN_VK_H

#include "core/base/log.h"
#include "core/vulkan/device.h"

#include <stdatomic.h>
#include <volk.h>

// Makes a Vulkan call and turns its result into true (VK_SUCCESS) or a failure in the log that names the call.
#define AT_VK(log, call) at_vk_check((log), at_vk_fault() ? at_vk_fault_result() : (call), #call)
bool at_vk_check(struct at_log *log, VkResult result, const char *call);
// Counts one checked call; true when it is the one to fail.
bool at_vk_fault(void);
VkResult at_vk_fault_result(void);

// Reads a number of bytes ("64M") from the environment; *value stays as it is when the variable is not set.
AT_NODISCARD bool at_vk_env_bytes(struct at_log *log, const char *name, uint64_t *value);
bool at_vk_env_on(const char *name);

// The loader's functions are the program's, and each instance may replace them: those of an extension that not every
// instance has are kept here.
struct at_vk_instance {
    struct at_log *log;
    VkInstance handle;
    PFN_vkCreateDebugUtilsMessengerEXT create_messenger; // the three: NULL without validation
    PFN_vkDestroyDebugUtilsMessengerEXT destroy_messenger;
    PFN_vkSetDebugUtilsObjectNameEXT set_name;
    VkDebugUtilsMessengerEXT messenger;
    bool validating;      // with the layer; objects then get names
    bool hazards;         // the layer also looks for barriers that are missing between copies and fills
    atomic_size_t errors; // of the validation layer
};

// On failure the instance is finished already. The struct must not move while the instance lives.
AT_NODISCARD bool at_vk_instance_init(struct at_vk_instance *instance, struct at_log *log);
void at_vk_instance_finish(struct at_vk_instance *instance);
// The physical devices, freed with at_free; fails when there are none.
AT_NODISCARD bool at_vk_instance_devices(struct at_vk_instance *instance, VkPhysicalDevice **devices, uint32_t *count);

// Fills info, the family of the queue to use, and the features to enable.
struct at_vk_features {
    VkPhysicalDeviceFeatures2 core; // heads the chain core -> v11 -> v12
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
    bool portability; // VK_KHR_portability_subset must be enabled
};
AT_NODISCARD bool at_vk_physical_describe(struct at_log *log, VkPhysicalDevice physical, struct at_vk_info *info,
                                          uint32_t *family, struct at_vk_features *features);

// The type of memory for a kind of buffer among the types in `mask`, or -1.
int at_vk_memory_type(const VkPhysicalDeviceMemoryProperties *memory, uint32_t mask, bool host);

struct at_vk_pipeline {
    const struct at_kernel *kernel; // NULL: a free slot
    uint32_t constants[8], constant_count;
    VkPipeline handle;
};

struct at_vk_device {
    struct at_log *log;
    struct at_vk_instance instance;
    struct at_vk_info info;
    VkPhysicalDevice physical;
    VkPhysicalDeviceMemoryProperties memory;
    VkDevice handle;
    VkQueue queue;
    VkCommandPool pool;
    VkSemaphore timeline;          // counts submissions
    uint64_t submitted, completed; // values of the timeline
    VkCommandBuffer transfer;      // for writes and reads
    struct at_vk_buffer *staging;  // made by the first write or read
    uint64_t allocated, peak;      // bytes of device buffers
    uint64_t host_allocated;       // bytes of host-visible buffers
    VkPipelineLayout layout;
    VkPipelineCache cache;
    bool cache_dirty;
    struct at_vk_pipeline *pipelines; // open addressing
    size_t pipeline_count, pipeline_slots;
};

// A buffer's handle for command.c.
VkBuffer at_vk_buffer_handle(const struct at_vk_buffer *buffer);
struct at_vk_device *at_vk_buffer_device(const struct at_vk_buffer *buffer);

// Submits a command buffer; the timeline will reach dev->submitted when it is done.
AT_NODISCARD bool at_vk_submit_one(struct at_vk_device *dev, VkCommandBuffer commands);
// Waits for all submissions whatever happens; for destructors.
void at_vk_drain(struct at_vk_device *dev);
// Orders everything before it against everything after it: kernels, copies, and the host's reads.
void at_vk_full_barrier(VkCommandBuffer commands);
// Names an object for the validation layer and for debuggers.
void at_vk_name(struct at_vk_device *dev, VkObjectType type, uint64_t handle, const char *name);

// A pipeline from the map, made at first use; NULL on failure. It lives as long as the device.
VkPipeline at_vk_pipeline_get(struct at_vk_device *dev, const struct at_kernel *kernel, const uint32_t *constants,
                              uint32_t constant_count);
// The layout that all pipelines share (128 bytes of push constants) and the cache.
AT_NODISCARD bool at_vk_pipelines_init(struct at_vk_device *dev);
void at_vk_pipelines_finish(struct at_vk_device *dev);

// The pipeline cache on disk; see cache.c. Loading never fails: NULL when there is none to trust (freed with at_free).
void *at_vk_cache_load(const struct at_vk_device *dev, size_t *bytes);
void at_vk_cache_save(struct at_vk_device *dev);

struct at_vk_timer;
// Records timestamp `index` of a timer.
AT_NODISCARD bool at_vk_timer_record(struct at_vk_timer *timer, VkCommandBuffer commands, uint32_t index);

#endif
