// SPDX-License-Identifier: Apache-2.0
#include "core/io/gzip.h"

#include "core/base/alloc.h"

#include <limits.h>
#include <zlib.h>

bool at_gzip_is(const void *bytes, size_t size)
{
    const uint8_t *b = bytes;
    return size >= 2 && b[0] == 0x1f && b[1] == 0x8b;
}

// Unpacks as much as there is room for, and makes more room.
static bool inflate_all(struct at_log *log, const char *name, z_stream *z, size_t limit, uint8_t **out, size_t *used)
{
    size_t capacity = 0;
    int code = Z_OK;
    while (code == Z_OK) {
        if (*used > limit)
            return at_fail(log, AT_ERROR_INPUT, "%s: unpacks to more than %zu bytes", name, limit);
        if (!at_grow((void **)out, &capacity, *used + 65536 + 1, 1))
            return at_fail_memory(log, *used + 65536 + 1);
        size_t room = capacity - 1 - *used < UINT_MAX ? capacity - 1 - *used : UINT_MAX;
        z->next_out = *out + *used;
        z->avail_out = (uInt)room;
        code = inflate(z, Z_NO_FLUSH);
        *used += room - z->avail_out;
    }
    if (code == Z_MEM_ERROR)
        return at_fail_memory(log, 65536);
    if (code == Z_STREAM_END && *used > limit)
        return at_fail(log, AT_ERROR_INPUT, "%s: unpacks to more than %zu bytes", name, limit);
    if (code != Z_STREAM_END)
        return at_fail(log, AT_ERROR_INPUT, "%s: is damaged or cut short (gzip: %s)", name, z->msg ? z->msg : "no end");
    (*out)[*used] = 0;
    return true;
}

bool at_gzip_unpack(struct at_log *log, const char *name, const void *bytes, size_t size, size_t limit, uint8_t **out,
                    size_t *out_size)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (uInt)size};
    *out = NULL;
    *out_size = 0;
    if (size > UINT_MAX)
        return at_fail(log, AT_ERROR_INPUT, "%s: %zu bytes are too many", name, size);
    if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
        return at_fail_memory(log, 65536);
    bool ok = inflate_all(log, name, &z, limit, out, out_size);
    inflateEnd(&z);
    if (!ok) {
        at_free(*out);
        *out = NULL;
    }
    return ok;
}
