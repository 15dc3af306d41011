// SPDX-License-Identifier: Apache-2.0
#include "core/vulkan/memory.h"

#include "core/base/alloc.h"
#include "core/vulkan/command.h"
#include "core/vulkan/vk.h"

#include <inttypes.h>
#include <string.h>

#define STAGING_BYTES ((uint64_t)16 << 20)
#define POOL_ALIGN 256

struct at_vk_buffer {
    struct at_vk_device *dev;
    VkBuffer handle;
    VkDeviceMemory memory;
    uint64_t size, address;
    uint64_t charged; // bytes counted against the device
    void *mapped;
    bool host;
};

struct at_vk_pool {
    struct at_vk_device *dev;
    const char *name;
    uint64_t block, used; // bytes of a block; of the last block, in use
    struct at_vk_buffer **buffers;
    size_t count, capacity;
};

int at_vk_memory_type(const VkPhysicalDeviceMemoryProperties *memory, uint32_t mask, bool host)
{
    const VkMemoryPropertyFlags visible = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                                cached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    int best = -1, best_score = -1;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
        VkMemoryPropertyFlags flags = memory->memoryTypes[i].propertyFlags;
        VkMemoryPropertyFlags need = host ? visible : local;
        // Types with any other property want care that we do not take.
        if (!(mask >> i & 1) || (flags & need) != need || (flags & ~(visible | local | cached)))
            continue;
        // The host reads its buffers back: cached before all. The device's: not the small window that the host sees.
        int score = host ? 2 * !!(flags & cached) + !(flags & local) : !(flags & visible);
        if (score > best_score) {
            best = (int)i;
            best_score = score;
        }
    }
    return best;
}

static bool allocate(struct at_vk_buffer *buffer, const char *name)
{
    struct at_vk_device *dev = buffer->dev;
    VkMemoryRequirements need;
    vkGetBufferMemoryRequirements(dev->handle, buffer->handle, &need);
    int type = at_vk_memory_type(&dev->memory, need.memoryTypeBits, buffer->host);
    if (type < 0)
        return at_fail(dev->log, AT_ERROR_DEVICE, "\"%s\" has no %s memory for buffers", dev->info.name,
                       buffer->host ? "host-visible" : "device-local");
    if (!buffer->host && need.size > dev->info.memory - dev->allocated)
        return at_fail(dev->log, AT_ERROR_DEVICE,
                       "out of device memory: %s needs %" PRIu64 " MiB, and %" PRIu64 " of %" PRIu64 " MiB are in use; "
                       "use --offload, a smaller batch or resolution, or a device with more memory",
                       name, need.size >> 20, dev->allocated >> 20, dev->info.memory >> 20);
    VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                       .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                 .pNext = &flags,
                                 .allocationSize = need.size,
                                 .memoryTypeIndex = (uint32_t)type};
    if (!AT_VK(dev->log, vkAllocateMemory(dev->handle, &info, NULL, &buffer->memory)))
        return at_fail(dev->log, AT_ERROR_DEVICE, "no %s memory for %s: %" PRIu64 " MiB asked for",
                       buffer->host ? "host-visible" : "device", name, need.size >> 20);
    buffer->charged = need.size;
    *(buffer->host ? &dev->host_allocated : &dev->allocated) += need.size;
    at_alloc_assume(buffer->host ? need.size : 0);
    if (dev->allocated > dev->peak)
        dev->peak = dev->allocated;
    return AT_VK(dev->log, vkBindBufferMemory(dev->handle, buffer->handle, buffer->memory, 0));
}

struct at_vk_buffer *at_vk_buffer_create(struct at_vk_device *dev, const struct at_vk_buffer_params *params)
{
    const char *name = params->name ? params->name : "a buffer";
    if (params->size == 0 || params->size > dev->info.max_buffer) {
        at_fail(dev->log, AT_ERROR_DEVICE, "%s of %" PRIu64 " bytes: \"%s\" holds buffers of 1 to %" PRIu64 " bytes",
                name, params->size, dev->info.name, dev->info.max_buffer);
        return NULL;
    }
    struct at_vk_buffer *buffer = at_calloc(1, sizeof(*buffer));
    if (!buffer) {
        at_fail_memory(dev->log, sizeof(*buffer));
        return NULL;
    }
    buffer->dev = dev;
    buffer->size = params->size;
    buffer->host = params->host;
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = params->size,
                               .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT,
                               .sharingMode = VK_SHARING_MODE_EXCLUSIVE};
    if (!AT_VK(dev->log, vkCreateBuffer(dev->handle, &info, NULL, &buffer->handle)) || !allocate(buffer, name))
        goto error;
    if (buffer->host &&
        !AT_VK(dev->log, vkMapMemory(dev->handle, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->mapped)))
        goto error;
    VkBufferDeviceAddressInfo address = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                         .buffer = buffer->handle};
    buffer->address = vkGetBufferDeviceAddress(dev->handle, &address);
    if (buffer->address == 0 || buffer->address % 16) {
        at_fail(dev->log, AT_ERROR_DEVICE, "\"%s\" gave %s no usable address", dev->info.name, name);
        goto error;
    }
    at_vk_name(dev, VK_OBJECT_TYPE_BUFFER, (uint64_t)buffer->handle, params->name);
    return buffer;

error:
    at_vk_buffer_destroy(&buffer);
    return NULL;
}

void at_vk_buffer_destroy(struct at_vk_buffer **pbuffer)
{
    struct at_vk_buffer *buffer = *pbuffer;
    if (!buffer)
        return;
    struct at_vk_device *dev = buffer->dev;
    at_vk_drain(dev);
    vkDestroyBuffer(dev->handle, buffer->handle, NULL);
    vkFreeMemory(dev->handle, buffer->memory, NULL); // unmaps
    *(buffer->host ? &dev->host_allocated : &dev->allocated) -= buffer->charged;
    at_alloc_assume_end(buffer->host ? buffer->charged : 0);
    at_free(buffer);
    *pbuffer = NULL;
}

uint64_t at_vk_buffer_address(const struct at_vk_buffer *buffer)
{
    return buffer->address;
}

uint64_t at_vk_buffer_size(const struct at_vk_buffer *buffer)
{
    return buffer->size;
}

void *at_vk_buffer_map(const struct at_vk_buffer *buffer)
{
    return buffer->mapped;
}

VkBuffer at_vk_buffer_handle(const struct at_vk_buffer *buffer)
{
    return buffer->handle;
}

struct at_vk_device *at_vk_buffer_device(const struct at_vk_buffer *buffer)
{
    return buffer->dev;
}

struct at_vk_usage at_vk_memory_usage(const struct at_vk_device *dev)
{
    return (struct at_vk_usage){.device = dev->allocated, .device_peak = dev->peak, .host = dev->host_allocated};
}

// Copies between two buffers and waits.
static bool copy(struct at_vk_device *dev, VkBuffer from, uint64_t from_offset, VkBuffer to, uint64_t to_offset,
                 uint64_t size)
{
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    at_vk_drain(dev); // the transfer commands may still run if an earlier wait failed
    if (!AT_VK(dev->log, vkBeginCommandBuffer(dev->transfer, &begin)))
        return false;
    VkBufferCopy region = {.srcOffset = from_offset, .dstOffset = to_offset, .size = size};
    at_vk_full_barrier(dev->transfer);
    vkCmdCopyBuffer(dev->transfer, from, to, 1, &region);
    at_vk_full_barrier(dev->transfer);
    return AT_VK(dev->log, vkEndCommandBuffer(dev->transfer)) && at_vk_submit_one(dev, dev->transfer) &&
           at_vk_wait(dev, dev->submitted);
}

static bool check_range(const struct at_vk_buffer *buffer, uint64_t offset, uint64_t size)
{
    if (offset <= buffer->size && size <= buffer->size - offset)
        return true;
    return at_fail(buffer->dev->log, AT_ERROR_FAILED,
                   "bytes %" PRIu64 " + %" PRIu64 " lie outside a buffer of %" PRIu64, offset, size, buffer->size);
}

uint64_t at_vk_staging_bytes(const struct at_vk_device *dev)
{
    return dev->info.max_buffer < STAGING_BYTES ? dev->info.max_buffer : STAGING_BYTES;
}

static bool make_staging(struct at_vk_device *dev)
{
    struct at_vk_buffer_params params = {.size = at_vk_staging_bytes(dev), .host = true, .name = "staging"};
    if (!dev->staging)
        dev->staging = at_vk_buffer_create(dev, &params);
    return dev->staging != NULL;
}

bool at_vk_buffer_write(struct at_vk_buffer *buffer, uint64_t offset, const void *data, size_t size)
{
    struct at_vk_device *dev = buffer->dev;
    if (!check_range(buffer, offset, size) || !at_vk_wait(dev, dev->submitted))
        return false;
    if (buffer->mapped) {
        memcpy((char *)buffer->mapped + offset, data, size);
        return true;
    }
    if (!make_staging(dev))
        return false;
    for (size_t done = 0, n; done < size; done += n) {
        n = size - done < dev->staging->size ? size - done : (size_t)dev->staging->size;
        memcpy(dev->staging->mapped, (const char *)data + done, n);
        if (!copy(dev, dev->staging->handle, 0, buffer->handle, offset + done, n))
            return false;
    }
    return true;
}

bool at_vk_buffer_read(struct at_vk_buffer *buffer, uint64_t offset, void *data, size_t size)
{
    struct at_vk_device *dev = buffer->dev;
    if (!check_range(buffer, offset, size) || !at_vk_wait(dev, dev->submitted))
        return false;
    if (buffer->mapped) {
        memcpy(data, (const char *)buffer->mapped + offset, size);
        return true;
    }
    if (!make_staging(dev))
        return false;
    for (size_t done = 0, n; done < size; done += n) {
        n = size - done < dev->staging->size ? size - done : (size_t)dev->staging->size;
        if (!copy(dev, buffer->handle, offset + done, dev->staging->handle, 0, n))
            return false;
        memcpy((char *)data + done, dev->staging->mapped, n);
    }
    return true;
}

struct at_vk_pool *at_vk_pool_create(struct at_vk_device *dev, uint64_t block, const char *name)
{
    struct at_vk_pool *pool = at_calloc(1, sizeof(*pool));
    if (!pool) {
        at_fail_memory(dev->log, sizeof(*pool));
        return NULL;
    }
    pool->dev = dev;
    pool->name = name;
    pool->block = block ? block : (uint64_t)256 << 20;
    if (pool->block > dev->info.max_buffer)
        pool->block = dev->info.max_buffer;
    return pool;
}

bool at_vk_pool_alloc(struct at_vk_pool *pool, uint64_t size, struct at_vk_slice *slice)
{
    struct at_vk_device *dev = pool->dev;
    struct at_vk_buffer *last = pool->count ? pool->buffers[pool->count - 1] : NULL;
    uint64_t offset = (pool->used + POOL_ALIGN - 1) / POOL_ALIGN * POOL_ALIGN;
    if (!last || offset > last->size || size > last->size - offset) {
        if (!at_grow((void **)&pool->buffers, &pool->capacity, pool->count + 1, sizeof(struct at_vk_buffer *)))
            return at_fail_memory(dev->log, (pool->count + 1) * sizeof(struct at_vk_buffer *));
        last = at_vk_buffer_create(
            dev, &(struct at_vk_buffer_params){.size = size > pool->block ? size : pool->block, .name = pool->name});
        if (!last)
            return false;
        pool->buffers[pool->count++] = last;
        offset = 0;
    }
    pool->used = offset + size;
    *slice = (struct at_vk_slice){.buffer = last, .offset = offset, .size = size};
    return true;
}

void at_vk_pool_destroy(struct at_vk_pool **ppool)
{
    struct at_vk_pool *pool = *ppool;
    if (!pool)
        return;
    for (size_t i = 0; i < pool->count; i++)
        at_vk_buffer_destroy(&pool->buffers[i]);
    at_free(pool->buffers);
    at_free(pool);
    *ppool = NULL;
}
