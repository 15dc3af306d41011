// SPDX-License-Identifier: Apache-2.0
// Buffers with a device address, and the way in and out of them.
#ifndef CORE_VULKAN_MEMORY_H
#define CORE_VULKAN_MEMORY_H

#include "core/vulkan/device.h"

struct at_vk_buffer;

struct at_vk_buffer_params {
    uint64_t size;    // bytes, > 0, at most at_vk_info.max_buffer
    bool host;        // in memory that the host sees, mapped for good; else in device memory
    const char *name; // for messages; may be NULL
};

// NULL when the device cannot hold it; the log says how much there is. The contents are undefined.
struct at_vk_buffer *at_vk_buffer_create(struct at_vk_device *dev, const struct at_vk_buffer_params *params);
// Waits until nothing submitted can use it. A pointer to NULL is fine.
void at_vk_buffer_destroy(struct at_vk_buffer **buffer);

// The address to put into push constants, aligned to at least 16 bytes.
uint64_t at_vk_buffer_address(const struct at_vk_buffer *buffer);
uint64_t at_vk_buffer_size(const struct at_vk_buffer *buffer);
// The host's view of a host buffer (coherent; valid for reading after at_vk_wait); NULL for a device buffer.
void *at_vk_buffer_map(const struct at_vk_buffer *buffer);

// Copy between host memory and any buffer, in order with what was submitted before; both return when the copy is done.
// A device buffer is reached through a bounded staging buffer. Bytes outside the buffer are refused.
AT_NODISCARD bool at_vk_buffer_write(struct at_vk_buffer *buffer, uint64_t offset, const void *data, size_t size);
AT_NODISCARD bool at_vk_buffer_read(struct at_vk_buffer *buffer, uint64_t offset, void *data, size_t size);

// Of the buffer through which they go.
uint64_t at_vk_staging_bytes(const struct at_vk_device *dev);

// Memory in use, in bytes.
struct at_vk_usage {
    uint64_t device, device_peak, host;
};
struct at_vk_usage at_vk_memory_usage(const struct at_vk_device *dev);

// A pool hands out pieces of device buffers: many tensors, one lifetime, however small the device's largest buffer is.
struct at_vk_pool;

struct at_vk_slice {
    struct at_vk_buffer *buffer; // the pool's
    uint64_t offset, size;       // bytes
};

// block: bytes of a buffer, 0 for 256 MiB; clamped to what the device allows.
struct at_vk_pool *at_vk_pool_create(struct at_vk_device *dev, uint64_t block, const char *name);
// A piece aligned to 256 bytes. One larger than a block gets a buffer of its own.
AT_NODISCARD bool at_vk_pool_alloc(struct at_vk_pool *pool, uint64_t size, struct at_vk_slice *slice);
void at_vk_pool_destroy(struct at_vk_pool **pool);

#endif
