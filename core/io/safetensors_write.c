// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"
#include "core/base/half.h"
#include "core/base/utf8.h"
#include "core/io/json.h"
#include "core/io/safetensors_doc.h"
#include "core/io/sha256.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 65536        // values converted at a time
#define SLICE (1 << 20)    // bytes between two reports

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct at_st_item *const *)a)->name, (*(const struct at_st_item *const *)b)->name);
}

static int by_type_and_name(const void *a, const void *b)
{
    const struct at_st_item *x = *(const struct at_st_item *const *)a, *y = *(const struct at_st_item *const *)b;
    return x->dtype != y->dtype ? (x->dtype < y->dtype ? 1 : -1) : strcmp(x->name, y->name);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct at_st_text *)a)->key, ((const struct at_st_text *)b)->key);
}

static bool check_items(struct at_log *log, const char *path, const struct at_st_item **items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct at_st_item *item = items[i];
        bool converts = item->dtype == AT_ST_F32 || item->dtype == AT_ST_F16 || item->dtype == AT_ST_BF16;
        if (strcmp(item->name, "__metadata__") == 0 || !at_utf8_valid(item->name, strlen(item->name)))
            return at_fail(log, AT_ERROR_FAILED, "%s: \"%s\" cannot be the name of a tensor", path, item->name);
        if (!item->raw && !converts)
            return at_fail(log, AT_ERROR_FAILED,
                           "%s: tensor \"%s\": f32 values are written as F32, F16 or BF16, not %s", path, item->name,
                           at_st_dtype_name(item->dtype));
        if (i && strcmp(items[i - 1]->name, item->name) == 0)
            return at_fail(log, AT_ERROR_FAILED, "%s: two tensors are named \"%s\"", path, item->name);
    }
    return true;
}

static bool add_metadata(struct at_log *log, struct at_json root, const struct at_st_content *content)
{
    size_t n = content->metadata_count;
    if (!n)
        return true;
    struct at_st_text *sorted = at_calloc(n, sizeof(*sorted));
    if (!sorted)
        return at_fail_memory(log, n * sizeof(*sorted));
    memcpy(sorted, content->metadata, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), by_key);
    struct at_json map = at_json_put_object(root, "__metadata__");
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        if (i && strcmp(sorted[i - 1].key, sorted[i].key) == 0)
            ok = at_fail(log, AT_ERROR_FAILED, "the metadata key \"%s\" occurs twice", sorted[i].key);
        at_json_put_str(map, sorted[i].key, sorted[i].value ? sorted[i].value : "");
    }
    at_free(sorted);
    return ok;
}

// The JSON header for items in their final order, NULL on failure.
static char *make_header(struct at_log *log, const char *path, const struct at_st_item **items,
                         const struct at_st_content *content)
{
    char *text = NULL;
    struct at_json_doc *doc = at_json_create(log, false);
    if (!doc)
        return NULL;
    struct at_json root = at_json_root(doc);
    bool ok = add_metadata(log, root, content);
    uint64_t at = 0;
    for (size_t i = 0; ok && i < content->count; i++) {
        uint64_t elements, bytes;
        if (!at_st_size(items[i]->dtype, items[i]->shape, items[i]->rank, &elements, &bytes) ||
            bytes > (UINT64_C(1) << 53) - at) {
            ok = at_fail(log, AT_ERROR_FAILED, "%s: tensor \"%s\" is too large for the format", path, items[i]->name);
            break;
        }
        struct at_json entry = at_json_put_object(root, items[i]->name);
        at_json_put_str(entry, "dtype", at_st_dtype_name(items[i]->dtype));
        struct at_json shape = at_json_put_array(entry, "shape");
        for (int j = 0; j < items[i]->rank; j++)
            at_json_put_int(shape, NULL, (int64_t)items[i]->shape[j]);
        struct at_json offsets = at_json_put_array(entry, "data_offsets");
        at_json_put_int(offsets, NULL, (int64_t)at);
        at_json_put_int(offsets, NULL, (int64_t)(at += bytes));
    }
    if (ok)
        text = at_json_text(doc, false);
    at_json_destroy(&doc);
    return text;
}

// Where the data go: into a file, or into a hash; and what is on its way.
struct sink {
    struct at_log *log;
    const char *path;
    const struct at_st_content *content;
    struct at_file_writer *file;
    struct at_sha256 *hash;
    float *values;    // CHUNK of them
    uint16_t *halves; // the same
    uint64_t told, bytes;
};

static bool put(struct sink *s, const void *data, size_t size)
{
    const struct at_st_content *c = s->content;
    for (size_t at = 0; at < size;) {
        size_t n = size - at < SLICE ? size - at : SLICE;
        if (s->hash)
            at_sha256_add(s->hash, (const uint8_t *)data + at, n);
        if (s->file && !at_file_writer_put(s->file, (const uint8_t *)data + at, n))
            return false;
        at += n;
        s->bytes += n;
        if (c->written && s->bytes - s->told >= SLICE) {
            s->told = s->bytes;
            if (!c->written(c->priv, s->bytes))
                return false;
        }
    }
    return true;
}

static bool put_halves(struct sink *s, const struct at_st_item *item, const float *x, size_t n)
{
    bool f16 = item->dtype == AT_ST_F16;
    for (size_t i = 0; i < n; i++) {
        s->halves[i] = f16 ? at_f16_from_f32(x[i]) : at_bf16_from_f32(x[i]);
        if ((s->halves[i] & 0x7fff) == (f16 ? 0x7c00 : 0x7f80) && isfinite(x[i]))
            return at_fail(s->log, AT_ERROR_FAILED, "%s: tensor \"%s\" holds %g, which %s cannot; write it as %s", s->path,
                           item->name, (double)x[i], f16 ? "F16" : "BF16", f16 ? "BF16 or F32" : "F32");
    }
    return put(s, s->halves, n * sizeof(*s->halves));
}

static bool put_values(struct sink *s, const struct at_st_item *item, uint64_t elements)
{
    const struct at_st_content *c = s->content;
    bool ok = true;
    for (uint64_t at = 0; ok && at < elements; at += CHUNK) {
        size_t n = elements - at < CHUNK ? (size_t)(elements - at) : CHUNK;
        const float *x = item->data ? item->data + at : s->values;
        ok = item->data || c->give(c->priv, item, at, n, s->values);
        if (ok)
            ok = item->dtype == AT_ST_F32 ? put(s, x, n * sizeof(*x)) : put_halves(s, item, x, n);
    }
    return ok;
}

static bool put_data(struct sink *s, const struct at_st_item **items)
{
    s->values = at_calloc(CHUNK, sizeof(*s->values));
    s->halves = at_calloc(CHUNK, sizeof(*s->halves));
    bool ok = (s->values && s->halves) || at_fail_memory(s->log, CHUNK * sizeof(*s->values));
    for (size_t i = 0; ok && i < s->content->count; i++) {
        uint64_t elements, bytes;
        ok = at_st_size(items[i]->dtype, items[i]->shape, items[i]->rank, &elements, &bytes) &&
             (items[i]->raw ? put(s, items[i]->raw, (size_t)bytes) : put_values(s, items[i], elements));
    }
    at_free(s->values);
    at_free(s->halves);
    return ok;
}

static bool put_file(struct at_log *log, const char *path, const struct at_st_item **items,
                     const struct at_st_content *content, const char *header)
{
    struct at_file_writer *w = at_file_writer_create(log, path);
    if (!w)
        return false;
    size_t length = strlen(header), padding = (8 - length % 8) % 8;
    uint8_t size[8];
    for (int i = 0; i < 8; i++)
        size[i] = (uint8_t)((uint64_t)(length + padding) >> (8 * i));
    bool ok = at_file_writer_put(w, size, 8) && at_file_writer_put(w, header, length) &&
              at_file_writer_put(w, "        ", padding);
    ok = ok && put_data(&(struct sink){.log = log, .path = path, .content = content, .file = w}, items);
    ok = ok && at_file_writer_commit(w);
    at_file_writer_destroy(&w);
    return ok;
}

// The items in the order of a file; freed with at_free.
static const struct at_st_item **sorted(struct at_log *log, const char *path, const struct at_st_content *content)
{
    size_t n = content->count;
    const struct at_st_item **items = at_calloc(n, sizeof(*items));
    if (!items) {
        at_fail_memory(log, n * sizeof(*items));
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        items[i] = &content->items[i];
    qsort(items, n, sizeof(*items), by_name);
    if (!check_items(log, path, items, n)) {
        at_free(items);
        return NULL;
    }
    qsort(items, n, sizeof(*items), by_type_and_name);
    return items;
}

bool at_safetensors_write(struct at_log *log, const char *path, const struct at_st_content *content)
{
    const struct at_st_item **items = sorted(log, path, content);
    char *header = items ? make_header(log, path, items, content) : NULL;
    bool ok = header;
    if (ok && strlen(header) > AT_ST_HEADER_LIMIT - 8)
        ok = at_fail(log, AT_ERROR_FAILED, "%s: the header is larger than the format allows", path);
    ok = ok && put_file(log, path, items, content, header);
    at_free(header);
    at_free(items);
    return ok;
}

bool at_safetensors_hash(struct at_log *log, const struct at_st_content *content, char text[65])
{
    struct at_sha256 hash;
    uint8_t digest[32];
    const struct at_st_item **items = sorted(log, "safetensors", content);
    at_sha256_init(&hash);
    struct sink sink = {.log = log, .path = "safetensors", .content = content, .hash = &hash};
    bool ok = items && put_data(&sink, items);
    at_sha256_finish(&hash, digest);
    at_sha256_hex(digest, text);
    at_free(items);
    return ok;
}
