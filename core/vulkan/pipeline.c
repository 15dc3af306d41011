// SPDX-License-Identifier: Apache-2.0
#include "core/vulkan/pipeline.h"

#include "core/base/alloc.h"
#include "core/vulkan/command.h"
#include "core/vulkan/vk.h"
#include "shaders/kernels.h"

#include <string.h>

// Numbers of the SPIR-V specification, table of capabilities; each with what the device must have for it.
struct capability {
    uint32_t number;
    const char *name;
    bool have;
};

static bool check_capability(const struct at_vk_info *info, uint32_t number, const char **missing)
{
    const struct capability known[] = {
        {1, "shaders", true},
        {9, "float16 arithmetic", info->float16},
        {11, "int64 arithmetic", info->int64},
        {22, "int16 arithmetic", info->int16},
        {39, "int8 arithmetic", info->int8},
        {61, "subgroup operations", info->subgroup > 1},
        {62, "subgroup votes", info->subgroup_arithmetic},
        {63, "subgroup arithmetic", info->subgroup_arithmetic},
        {64, "subgroup ballots", info->subgroup_arithmetic},
        {65, "subgroup shuffles", info->subgroup_shuffle},
        {4433, "16-bit storage", info->storage16},
        {5347, "buffer device addresses", true},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].number == number) {
            *missing = known[i].name;
            return known[i].have;
        }
    *missing = "a capability that attune does not know";
    return false;
}

// Walks over the OpCapability instructions that open a SPIR-V module.
static bool supported(const struct at_vk_info *info, const struct at_kernel *kernel, const char **missing)
{
    const uint32_t header_words = 5, op_capability = 17;
    size_t n = kernel->bytes / 4;
    for (size_t i = header_words; i + 1 < n && (kernel->words[i] & 0xffff) == op_capability; i += 2)
        if (!check_capability(info, kernel->words[i + 1], missing))
            return false;
    return true;
}

bool at_vk_kernel_supported(const struct at_vk_device *dev, const char *name, const char **missing)
{
    const char *what = "the kernel";
    const struct at_kernel *kernel = at_kernel_find(name);
    bool ok = kernel && supported(&dev->info, kernel, &what);
    if (missing)
        *missing = ok ? NULL : what;
    return ok;
}

size_t at_vk_pipeline_count(const struct at_vk_device *dev)
{
    return dev->pipeline_count;
}

static uint64_t hash(const struct at_kernel *kernel, const uint32_t *constants, uint32_t count)
{
    uint64_t h = (uint64_t)(uintptr_t)kernel * 0x9e3779b97f4a7c15u;
    for (uint32_t i = 0; i < count; i++)
        h = ((h ^ constants[i]) * 0x9e3779b97f4a7c15u) ^ (h >> 29);
    return h ^ (h >> 32);
}

// The slot that holds a pipeline, or the free one where it belongs. There is always a free one.
static struct at_vk_pipeline *slot(struct at_vk_pipeline *slots, size_t n, const struct at_kernel *kernel,
                                   const uint32_t *constants, uint32_t count)
{
    for (size_t i = hash(kernel, constants, count) & (n - 1);; i = (i + 1) & (n - 1)) {
        struct at_vk_pipeline *p = &slots[i];
        if (!p->kernel || (p->kernel == kernel && p->constant_count == count &&
                           memcmp(p->constants, constants, count * sizeof(*constants)) == 0))
            return p;
    }
}

// Keeps the map at most half full.
static bool make_room(struct at_vk_device *dev)
{
    if (2 * (dev->pipeline_count + 1) <= dev->pipeline_slots)
        return true;
    size_t n = dev->pipeline_slots ? 2 * dev->pipeline_slots : 64;
    struct at_vk_pipeline *slots = at_calloc(n, sizeof(*slots));
    if (!slots)
        return at_fail_memory(dev->log, n * sizeof(*slots));
    for (size_t i = 0; i < dev->pipeline_slots; i++) {
        struct at_vk_pipeline *p = &dev->pipelines[i];
        if (p->kernel)
            *slot(slots, n, p->kernel, p->constants, p->constant_count) = *p;
    }
    at_free(dev->pipelines);
    dev->pipelines = slots;
    dev->pipeline_slots = n;
    return true;
}

static VkPipeline create(struct at_vk_device *dev, const struct at_kernel *kernel, const uint32_t *constants,
                         uint32_t count)
{
    VkSpecializationMapEntry entries[AT_VK_MAX_CONSTANTS];
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = 4 * i, .size = 4};
    VkSpecializationInfo specialization = {
        .mapEntryCount = count, .pMapEntries = entries, .dataSize = 4 * count, .pData = constants};
    VkShaderModuleCreateInfo module_info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = kernel->bytes, .pCode = kernel->words};
    VkShaderModule module = VK_NULL_HANDLE;
    VkPipeline pipeline = VK_NULL_HANDLE;
    if (!AT_VK(dev->log, vkCreateShaderModule(dev->handle, &module_info, NULL, &module)))
        return VK_NULL_HANDLE;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &specialization},
        .layout = dev->layout,
    };
    if (AT_VK(dev->log, vkCreateComputePipelines(dev->handle, dev->cache, 1, &info, NULL, &pipeline)))
        at_vk_name(dev, VK_OBJECT_TYPE_PIPELINE, (uint64_t)pipeline, kernel->name);
    else
        at_fail(dev->log, AT_ERROR_DEVICE, "kernel %s could not be built for \"%s\"", kernel->name, dev->info.name);
    vkDestroyShaderModule(dev->handle, module, NULL);
    return pipeline;
}

VkPipeline at_vk_pipeline_get(struct at_vk_device *dev, const struct at_kernel *kernel, const uint32_t *constants,
                              uint32_t count)
{
    if (!make_room(dev))
        return VK_NULL_HANDLE;
    struct at_vk_pipeline *p = slot(dev->pipelines, dev->pipeline_slots, kernel, constants, count);
    if (p->kernel)
        return p->handle;
    const char *missing;
    if (!supported(&dev->info, kernel, &missing)) {
        at_fail(dev->log, AT_ERROR_DEVICE, "kernel %s needs %s, which \"%s\" lacks", kernel->name, missing,
                dev->info.name);
        return VK_NULL_HANDLE;
    }
    VkPipeline pipeline = create(dev, kernel, constants, count);
    if (!pipeline)
        return VK_NULL_HANDLE;
    p->kernel = kernel;
    p->handle = pipeline;
    p->constant_count = count;
    memcpy(p->constants, constants, count * sizeof(*constants));
    dev->pipeline_count++;
    dev->cache_dirty = true;
    return pipeline;
}

bool at_vk_pipelines_init(struct at_vk_device *dev)
{
    VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = AT_VK_MAX_PUSH};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &range};
    if (!AT_VK(dev->log, vkCreatePipelineLayout(dev->handle, &layout, NULL, &dev->layout)))
        return false;
    size_t bytes;
    void *data = at_vk_cache_load(dev, &bytes);
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO, .initialDataSize = bytes, .pInitialData = data};
    bool loaded = data && vkCreatePipelineCache(dev->handle, &info, NULL, &dev->cache) == VK_SUCCESS;
    at_free(data);
    if (loaded)
        return true;
    info.initialDataSize = 0;
    info.pInitialData = NULL;
    dev->cache = VK_NULL_HANDLE;
    return AT_VK(dev->log, vkCreatePipelineCache(dev->handle, &info, NULL, &dev->cache));
}

void at_vk_pipelines_finish(struct at_vk_device *dev)
{
    if (dev->cache && dev->cache_dirty)
        at_vk_cache_save(dev);
    for (size_t i = 0; i < dev->pipeline_slots; i++)
        if (dev->pipelines[i].kernel)
            vkDestroyPipeline(dev->handle, dev->pipelines[i].handle, NULL);
    at_free(dev->pipelines);
    vkDestroyPipelineCache(dev->handle, dev->cache, NULL);
    vkDestroyPipelineLayout(dev->handle, dev->layout, NULL);
}
