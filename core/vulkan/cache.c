// SPDX-License-Identifier: Apache-2.0
// The driver's pipeline cache on disk: $XDG_CACHE_HOME/attune (or ~/.cache/attune), a file for each device and driver.
// A file is a header with a checksum and then the driver's own bytes; whatever is wrong with it, it is ignored, and the
// next good one replaces it in one step. Nothing here fails: without a cache, pipelines only take longer to make.
#include "core/vulkan/vk.h"

#include "core/base/alloc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct header {
    char magic[8];
    uint32_t version, driver_version, vendor_id, device_id;
    uint8_t uuid[16];
    uint64_t bytes, checksum; // of what follows
};

static const char magic[8] = "attunepc";
#define MAX_BYTES ((uint64_t)256 << 20)

// FNV-1a, 64 bits.
static uint64_t checksum(const unsigned char *data, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ data[i]) * 0x100000001b3u;
    return h;
}

static struct header expected(const struct at_vk_device *dev)
{
    struct header h = {.version = 1,
                       .driver_version = dev->info.driver_version,
                       .vendor_id = dev->info.vendor_id,
                       .device_id = dev->info.device_id};
    memcpy(h.magic, magic, sizeof(magic));
    memcpy(h.uuid, dev->info.uuid, sizeof(h.uuid));
    return h;
}

// The folder, made if it is missing, in fresh memory; NULL when there is no place for it.
static char *make_folder(void)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *parent = NULL, *folder = NULL;
    if (base && base[0] == '/')
        parent = at_strdup(base);
    else if (home && home[0] == '/')
        parent = at_strf("%s/.cache", home);
    if (!parent)
        return NULL;
    folder = at_strf("%s/attune", parent);
    if (folder && ((mkdir(parent, 0700) != 0 && errno != EEXIST) || (mkdir(folder, 0700) != 0 && errno != EEXIST))) {
        at_free(folder);
        folder = NULL;
    }
    at_free(parent);
    return folder;
}

static char *make_path(const struct at_vk_device *dev)
{
    char uuid[33];
    for (int i = 0; i < 16; i++)
        snprintf(uuid + 2 * i, 3, "%02x", dev->info.uuid[i]);
    char *folder = make_folder();
    char *path = folder ? at_strf("%s/pipelines-%s-%08x.bin", folder, uuid, dev->info.driver_version) : NULL;
    at_free(folder);
    return path;
}

// Bytes of the file that follow the header; 0: it does not say.
static uint64_t bytes_behind(FILE *f)
{
    struct stat st;
    return fstat(fileno(f), &st) == 0 && st.st_size > (off_t)sizeof(struct header)
               ? (uint64_t)st.st_size - sizeof(struct header)
               : 0;
}

static void *read_file(FILE *f, const struct header *want, size_t *bytes)
{
    struct header h;
    if (fread(&h, sizeof(h), 1, f) != 1 || h.bytes > MAX_BYTES || h.bytes == 0 || h.bytes != bytes_behind(f))
        return NULL;
    size_t n = (size_t)h.bytes;
    uint64_t sum = h.checksum;
    h.bytes = h.checksum = 0;
    if (memcmp(&h, want, sizeof(h)) != 0)
        return NULL;
    unsigned char *data = at_calloc(n, 1);
    if (data && fread(data, 1, n, f) == n && checksum(data, n) == sum) {
        *bytes = n;
        return data;
    }
    at_free(data);
    return NULL;
}

void *at_vk_cache_load(const struct at_vk_device *dev, size_t *bytes)
{
    *bytes = 0;
    char *path = make_path(dev);
    FILE *f = path ? fopen(path, "rb") : NULL;
    void *data = NULL;
    if (f) {
        struct header want = expected(dev);
        data = read_file(f, &want, bytes);
        fclose(f);
        if (!data)
            at_debug(dev->log, "%s is not a pipeline cache of this device; ignored", path);
    }
    at_free(path);
    return data;
}

static bool write_file(const char *path, const struct header *h, const void *data)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return false;
    bool ok = fwrite(h, sizeof(*h), 1, f) == 1 && fwrite(data, 1, (size_t)h->bytes, f) == h->bytes && fflush(f) == 0 &&
              fsync(fileno(f)) == 0;
    return fclose(f) == 0 && ok;
}

void at_vk_cache_save(struct at_vk_device *dev)
{
    size_t n = 0;
    if (vkGetPipelineCacheData(dev->handle, dev->cache, &n, NULL) != VK_SUCCESS || n == 0 || n > MAX_BYTES)
        return;
    unsigned char *data = at_calloc(n, 1);
    char *path = make_path(dev);
    char *temporary = path ? at_strf("%s.%ld", path, (long)getpid()) : NULL;
    if (data && temporary && vkGetPipelineCacheData(dev->handle, dev->cache, &n, data) == VK_SUCCESS) {
        struct header h = expected(dev);
        h.bytes = n;
        h.checksum = checksum(data, n);
        if (!write_file(temporary, &h, data) || rename(temporary, path) != 0) {
            remove(temporary);
            at_debug(dev->log, "the pipeline cache could not be written to %s: %s", path, strerror(errno));
        }
    }
    at_free(data);
    at_free(path);
    at_free(temporary);
}
