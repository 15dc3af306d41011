// SPDX-License-Identifier: Apache-2.0
#include "core/io/safetensors.h"

#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/base/half.h"
#include "core/base/suggest.h"
#include "core/io/file.h"
#include "core/io/json.h"
#include "core/io/safetensors_doc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned bits;
} dtypes[] = {
    [AT_ST_BOOL] = {"BOOL", 8},
    [AT_ST_F4] = {"F4", 4},
    [AT_ST_F6_E2M3] = {"F6_E2M3", 6},
    [AT_ST_F6_E3M2] = {"F6_E3M2", 6},
    [AT_ST_U8] = {"U8", 8},
    [AT_ST_I8] = {"I8", 8},
    [AT_ST_F8_E5M2] = {"F8_E5M2", 8},
    [AT_ST_F8_E4M3] = {"F8_E4M3", 8},
    [AT_ST_F8_E8M0] = {"F8_E8M0", 8},
    [AT_ST_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [AT_ST_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [AT_ST_I16] = {"I16", 16},
    [AT_ST_U16] = {"U16", 16},
    [AT_ST_F16] = {"F16", 16},
    [AT_ST_BF16] = {"BF16", 16},
    [AT_ST_I32] = {"I32", 32},
    [AT_ST_U32] = {"U32", 32},
    [AT_ST_F32] = {"F32", 32},
    [AT_ST_C64] = {"C64", 64},
    [AT_ST_F64] = {"F64", 64},
    [AT_ST_I64] = {"I64", 64},
    [AT_ST_U64] = {"U64", 64},
};
#define DTYPES (sizeof(dtypes) / sizeof(dtypes[0]))

const char *at_st_dtype_name(enum at_st_dtype dtype)
{
    return dtypes[dtype].name;
}

unsigned at_st_dtype_bits(enum at_st_dtype dtype)
{
    return dtypes[dtype].bits;
}

// Elements and bytes of a shape; false on overflow or when the bits do not fill bytes.
bool at_st_size(enum at_st_dtype dtype, const uint64_t *shape, int rank, uint64_t *elements, uint64_t *bytes)
{
    uint64_t n = 1, bits;
    for (int i = 0; i < rank; i++)
        if (__builtin_mul_overflow(n, shape[i], &n))
            return false;
    if (__builtin_mul_overflow(n, (uint64_t)dtypes[dtype].bits, &bits) || bits % 8)
        return false;
    *elements = n;
    *bytes = bits / 8;
    return true;
}

static bool read_dtype(struct at_json entry, enum at_st_dtype *dtype)
{
    struct at_json v;
    const char *name;
    if (!at_json_need(entry, "dtype", &v) || !at_json_as_str(v, &name))
        return false;
    for (size_t i = 0; i < DTYPES; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *dtype = (enum at_st_dtype)i;
            return true;
        }
    }
    return at_json_fail(v, "\"%.40s\" is not a safetensors type", name);
}

static bool read_shape(struct at_safetensors *st, struct at_json entry, struct at_st_tensor *t)
{
    struct at_json array;
    if (!at_json_need(entry, "shape", &array) || !at_json_array(entry, "shape", &array))
        return false;
    size_t rank = at_json_count(array), i = 0;
    uint64_t *shape = at_arena_alloc(st->arena, (rank + 1) * sizeof(*shape));
    if (!shape || rank > INT32_MAX)
        return at_fail_memory(st->log, rank * sizeof(*shape));
    for (struct at_json v = at_json_first(array); v.item; v = at_json_next(v)) {
        int64_t size;
        if (!at_json_as_int(v, 0, INT64_MAX, &size))
            return false;
        shape[i++] = (uint64_t)size;
    }
    t->shape = shape;
    t->rank = (int)rank;
    return true;
}

// One header entry. Until the offsets are checked, t->data holds nothing and *begin the offset.
static bool read_entry(struct at_safetensors *st, struct at_json entry, struct at_st_tensor *t, uint64_t *begin)
{
    struct at_json offsets;
    int64_t from, to;
    if (!at_json_is_object(entry))
        return at_json_fail(entry, "expected an object that describes a tensor");
    if (!read_dtype(entry, &t->dtype) || !read_shape(st, entry, t))
        return false;
    if (!at_json_need(entry, "data_offsets", &offsets) || !at_json_array(entry, "data_offsets", &offsets))
        return false;
    if (at_json_count(offsets) != 2)
        return at_json_fail(offsets, "expected two offsets, begin and end");
    if (!at_json_as_int(at_json_at(offsets, 0), 0, INT64_MAX, &from) ||
        !at_json_as_int(at_json_at(offsets, 1), from, INT64_MAX, &to))
        return false;
    if (!at_st_size(t->dtype, t->shape, t->rank, &t->elements, &t->bytes))
        return at_json_fail(entry, "the shape is too large, or its bits do not fill whole bytes");
    if (t->bytes != (uint64_t)(to - from))
        return at_json_fail(entry, "the shape needs %" PRIu64 " bytes, the offsets hold %" PRId64, t->bytes, to - from);
    t->name = at_arena_strf(st->arena, "%s", at_json_key(entry));
    *begin = (uint64_t)from;
    return t->name != NULL || at_fail_memory(st->log, strlen(at_json_key(entry)));
}

static bool read_metadata(struct at_safetensors *st, struct at_json map)
{
    if (!at_json_is_object(map))
        return at_json_fail(map, "expected an object of strings");
    for (struct at_json v = at_json_first(map); v.item; v = at_json_next(v)) {
        const char *value;
        if (!at_json_as_str(v, &value))
            return false;
        if (!at_grow((void **)&st->metadata, &st->metadata_capacity, st->metadata_count + 1, sizeof(*st->metadata)))
            return at_fail_memory(st->log, (st->metadata_count + 1) * sizeof(*st->metadata));
        struct at_st_text *text = &st->metadata[st->metadata_count];
        text->key = at_arena_strf(st->arena, "%s", at_json_key(v));
        text->value = at_arena_strf(st->arena, "%s", value);
        if (!text->key || !text->value)
            return at_fail_memory(st->log, strlen(value));
        st->metadata_count++;
    }
    return true;
}

struct span {
    uint64_t begin, end;
    size_t tensor;
};

static int by_offset(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

// The tensors must cover the data from its start to its end without holes or overlaps.
static bool check_spans(struct at_safetensors *st, const char *name, struct span *spans, size_t n, uint64_t bytes)
{
    uint64_t at = 0;
    if (n)
        qsort(spans, n, sizeof(*spans), by_offset);
    for (size_t i = 0; i < n; i++) {
        if (spans[i].begin != at)
            return at_fail(st->log, AT_ERROR_INPUT,
                           "%s: tensor \"%.200s\" begins at %" PRIu64 ", but the one before it ends at %" PRIu64
                           "; the file is damaged",
                           name, st->tensors[spans[i].tensor].name, spans[i].begin, at);
        at = spans[i].end;
    }
    if (at != bytes)
        return at_fail(st->log, AT_ERROR_INPUT,
                       "%s: the tensors need %" PRIu64 " bytes, the file holds %" PRIu64
                       "; it is cut short or damaged: copy or download it again",
                       name, at, bytes);
    return true;
}

// Adds the tensors that the parsed header lists, in the header's order.
static bool add_tensors(struct at_safetensors *st, const char *name, struct at_json header, const uint8_t *data,
                        uint64_t bytes)
{
    size_t first = st->count, n = 0, entries = at_json_count(header);
    bool primary = !st->metadata_read;
    st->metadata_read = true;
    struct span *spans = at_calloc(entries, sizeof(*spans));
    if (!spans || !at_grow((void **)&st->tensors, &st->capacity, first + entries, sizeof(*st->tensors))) {
        at_free(spans);
        return at_fail_memory(st->log, entries * sizeof(*st->tensors));
    }
    bool ok = true;
    for (struct at_json v = at_json_first(header); ok && v.item; v = at_json_next(v)) {
        if (strcmp(at_json_key(v), "__metadata__") == 0) {
            ok = !primary || read_metadata(st, v);
            continue;
        }
        struct at_st_tensor *t = &st->tensors[first + n];
        *t = (struct at_st_tensor){.file = name};
        ok = read_entry(st, v, t, &spans[n].begin);
        spans[n].end = spans[n].begin + t->bytes;
        spans[n].tensor = first + n;
        n++;
    }
    ok = ok && check_spans(st, name, spans, n, bytes);
    for (size_t i = 0; ok && i < n; i++)
        st->tensors[spans[i].tensor].data = data + spans[i].begin;
    at_free(spans);
    st->count += ok ? n : 0;
    return ok;
}

const char *at_st_foreign(const void *data, size_t size)
{
    const uint8_t *b = data;
    if (size > 8 && b[8] == '{')
        return NULL; // its length may well begin as a pickle does
    if (size >= 4 && (memcmp(b, "PK\3\4", 4) == 0 || (b[0] == 0x80 && b[1] >= 2 && b[1] <= 5 && b[2] != 0)))
        return "a pickle (.ckpt, .pt, .bin), which is not read: loading one can run any code in it; convert it to "
               "safetensors, or download the .safetensors file";
    if (size >= 4 && memcmp(b, "GGUF", 4) == 0)
        return "a GGUF file, which is not read; take the weights as .safetensors";
    return NULL;
}

bool at_st_add_bytes(struct at_safetensors *st, const char *path, const uint8_t *bytes, size_t size)
{
    static const struct at_json_limits limits = {.bytes = AT_ST_HEADER_LIMIT, .values = 16000000, .depth = 8};
    const char *name = at_arena_strf(st->arena, "%s", path);
    if (!name)
        return at_fail_memory(st->log, strlen(path));
    const char *foreign = at_st_foreign(bytes, size);
    if (foreign)
        return at_fail(st->log, AT_ERROR_INPUT, "%s: this is %s", name, foreign);
    if (size < 8)
        return at_fail(st->log, AT_ERROR_INPUT, "%s: %zu bytes is too short for a safetensors file", name, size);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | bytes[i];
    if (length > AT_ST_HEADER_LIMIT || length > size - 8)
        return at_fail(st->log, AT_ERROR_INPUT,
                       "%s: the header should have %" PRIu64
                       " bytes, the file has %zu and the limit is %d; it is not a "
                       "safetensors file, or cut short",
                       name, length, size, AT_ST_HEADER_LIMIT);
    if (length == 0 || bytes[8] != '{')
        return at_fail(st->log, AT_ERROR_INPUT, "%s: the header does not begin with {; it is not a safetensors file",
                       name);
    struct at_json_doc *doc = at_json_parse(st->log, name, bytes + 8, (size_t)length, &limits);
    bool ok = doc && add_tensors(st, name, at_json_root(doc), bytes + 8 + length, size - 8 - length);
    at_json_destroy(&doc);
    return ok;
}

bool at_st_add_file(struct at_safetensors *st, const char *path)
{
    struct at_map map;
    if (!at_grow((void **)&st->maps, &st->map_capacity, st->map_count + 1, sizeof(*st->maps)))
        return at_fail_memory(st->log, sizeof(*st->maps));
    if (!at_file_map(st->log, path, &map))
        return false;
    st->maps[st->map_count++] = map;
    return at_st_add_bytes(st, path, map.data, map.size);
}

struct at_safetensors *at_st_create(struct at_log *log)
{
    struct at_safetensors *st = at_calloc(1, sizeof(*st));
    if (st) {
        st->log = log;
        st->arena = at_arena_create();
    }
    if (!st || !st->arena) {
        at_fail_memory(log, sizeof(*st));
        at_safetensors_destroy(&st);
    }
    return st;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct at_st_tensor *)a)->name, ((const struct at_st_tensor *)b)->name);
}

void at_st_sort(struct at_safetensors *st)
{
    if (st->count)
        qsort(st->tensors, st->count, sizeof(*st->tensors), by_name);
}

struct at_safetensors *at_safetensors_open(struct at_log *log, const char *path)
{
    struct at_safetensors *st = at_st_create(log);
    if (st && !at_st_add_file(st, path))
        at_safetensors_destroy(&st);
    if (st)
        at_st_sort(st);
    return st;
}

struct at_safetensors *at_safetensors_parse(struct at_log *log, const char *name, const void *bytes, size_t size)
{
    struct at_safetensors *st = at_st_create(log);
    if (st && !at_st_add_bytes(st, name, bytes, size))
        at_safetensors_destroy(&st);
    if (st)
        at_st_sort(st);
    return st;
}

static void free_all(struct at_safetensors *st)
{
    for (size_t i = 0; i < st->map_count; i++)
        at_file_unmap(&st->maps[i]);
    at_free(st->maps);
    at_free(st->tensors);
    at_free(st->metadata);
    at_arena_destroy(&st->arena);
    at_free(st);
}

void at_safetensors_destroy(struct at_safetensors **handle)
{
    struct at_safetensors *st = *handle;
    *handle = NULL;
    while (st) { // and what it was the last view of
        st->destroyed = true;
        if (st->views)
            return;
        struct at_safetensors *of = st->of;
        free_all(st);
        if (!of || --of->views || !of->destroyed)
            return;
        st = of;
    }
}

size_t at_safetensors_count(const struct at_safetensors *st)
{
    return st->count;
}

const struct at_st_tensor *at_safetensors_at(const struct at_safetensors *st, size_t index)
{
    return index < st->count ? &st->tensors[index] : NULL;
}

const struct at_st_tensor *at_safetensors_find(const struct at_safetensors *st, const char *name)
{
    struct at_st_tensor key = {.name = name};
    return st->count ? bsearch(&key, st->tensors, st->count, sizeof(*st->tensors), by_name) : NULL;
}

static const char *shape_text(char text[96], const uint64_t *shape, int rank)
{
    size_t used = (size_t)snprintf(text, 96, "[");
    for (int i = 0; i < rank && used < 90; i++)
        used += (size_t)snprintf(text + used, 96 - used, "%s%" PRIu64, i ? ", " : "", shape[i]);
    if (used < 95)
        snprintf(text + used, 96 - used, "]");
    return text;
}

static const struct at_st_tensor *fail_missing(const struct at_safetensors *st, const char *name)
{
    const char *file = st->count ? st->tensors[0].file : "safetensors";
    const char **all = at_calloc(st->count, sizeof(*all));
    for (size_t i = 0; all && i < st->count; i++)
        all[i] = st->tensors[i].name;
    const char *near = all ? at_suggest(name, all, st->count) : NULL;
    if (near)
        at_fail(st->log, AT_ERROR_INPUT, "%s: tensor \"%s\" is missing; the nearest is \"%.200s\"", file, name, near);
    else
        at_fail(st->log, AT_ERROR_INPUT, "%s: tensor \"%s\" is missing; is it the right model?", file, name);
    at_free(all);
    return NULL;
}

const struct at_st_tensor *at_safetensors_need(const struct at_safetensors *st, const char *name, const uint64_t *shape,
                                               int rank)
{
    char have[96], want[96];
    const struct at_st_tensor *t = at_safetensors_find(st, name);
    if (!t)
        return fail_missing(st, name);
    if (t->rank == rank && (rank == 0 || memcmp(t->shape, shape, (size_t)rank * sizeof(*shape)) == 0))
        return t;
    at_fail(st->log, AT_ERROR_INPUT, "%s: tensor \"%s\" has the shape %s, expected %s; does the config belong to it?",
            t->file, name, shape_text(have, t->shape, t->rank), shape_text(want, shape, rank));
    return NULL;
}

size_t at_safetensors_metadata_count(const struct at_safetensors *st)
{
    return st->metadata_count;
}

void at_safetensors_metadata_at(const struct at_safetensors *st, size_t index, const char **key, const char **value)
{
    *key = index < st->metadata_count ? st->metadata[index].key : NULL;
    *value = index < st->metadata_count ? st->metadata[index].value : NULL;
}

const char *at_safetensors_metadata(const struct at_safetensors *st, const char *key)
{
    for (size_t i = 0; i < st->metadata_count; i++)
        if (strcmp(st->metadata[i].key, key) == 0)
            return st->metadata[i].value;
    return NULL;
}

void at_safetensors_pass(const struct at_safetensors *st, const struct at_st_tensor *t)
{
    for (; st; st = st->of)
        for (size_t i = 0; i < st->map_count; i++) {
            const struct at_map *map = &st->maps[i];
            if (t->data >= map->data && t->data + t->bytes <= map->data + map->size)
                at_file_map_pass(map, t->data, (size_t)t->bytes);
        }
}

bool at_safetensors_to_f32(const struct at_safetensors *st, const struct at_st_tensor *t, float *out)
{
    return at_safetensors_part_to_f32(st, t, 0, t->elements, out);
}

bool at_safetensors_part_to_f32(const struct at_safetensors *st, const struct at_st_tensor *t, uint64_t first,
                                uint64_t n, float *out)
{
    const uint8_t *p = t->data + first * (at_st_dtype_bits(t->dtype) / 8);
    uint16_t h;
    double d;
    switch (t->dtype) {
    case AT_ST_F32:
        if (n)
            memcpy(out, p, (size_t)n * sizeof(*out));
        return true;
    case AT_ST_F16:
        for (uint64_t i = 0; i < n; i++, p += 2) {
            memcpy(&h, p, 2);
            out[i] = at_f32_from_f16(h);
        }
        return true;
    case AT_ST_BF16:
        for (uint64_t i = 0; i < n; i++, p += 2) {
            memcpy(&h, p, 2);
            out[i] = at_f32_from_bf16(h);
        }
        return true;
    case AT_ST_F64:
        for (uint64_t i = 0; i < n; i++, p += 8) {
            memcpy(&d, p, 8);
            out[i] = (float)d;
        }
        return true;
    default:
        return at_fail(st->log, AT_ERROR_INPUT,
                       "%s: tensor \"%.200s\" has the type %s; only F32, F16, BF16 and F64 can be used as weights",
                       t->file, t->name, at_st_dtype_name(t->dtype));
    }
}
