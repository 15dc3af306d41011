// SPDX-License-Identifier: Apache-2.0
// Models of data/single/*.json.gz (make_single.py) as the one file of the original repositories and as a folder of
// diffusers, with made-up values.
#ifndef TESTS_GOLDEN_SINGLE_H
#define TESTS_GOLDEN_SINGLE_H

#include "core/base/half.h"
#include "core/io/gzip.h"
#include "core/io/json.h"
#include "core/io/safetensors.h"
#include "tests/unit/capture.h"

#define SINGLE_MOST 3000 // tensors
#define SINGLE_RANK 4

struct single_tensor {
    const char *name;
    int rank;
    uint64_t shape[SINGLE_RANK], elements;
    uint16_t *values; // f16
};

struct single_model {
    struct at_json_doc *doc;
    struct single_tensor *file; // as the file holds them, those without use at the end
    size_t count, used;
};

static inline struct at_json single_root(const struct single_model *m)
{
    return at_json_root(m->doc);
}

static inline void single_shape(struct at_json shape, struct single_tensor *t)
{
    t->elements = 1;
    for (struct at_json v = at_json_first(shape); v.item && t->rank < SINGLE_RANK; v = at_json_next(v)) {
        int64_t size = 0;
        AT_CHECK(at_json_as_int(v, 0, 1 << 24, &size));
        t->shape[t->rank++] = (uint64_t)size;
        t->elements *= (uint64_t)size;
    }
}

static inline uint32_t single_hash(uint32_t h)
{
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    return h ^ h >> 16;
}

// Values that keep a network's activations near 1: norms about 1, matrices by their inputs.
static inline void single_fill(struct single_tensor *t, uint32_t seed)
{
    size_t n = strlen(t->name);
    bool norm = t->rank == 1 && n > 7 && strcmp(t->name + n - 7, ".weight") == 0;
    double scale = t->rank > 1 ? 1.7 / sqrt((double)t->elements / (double)t->shape[0]) : 0.05;
    t->values = at_calloc((size_t)t->elements, 2);
    for (uint64_t i = 0; t->values && i < t->elements; i++) {
        double u = single_hash(seed * 2654435761u + (uint32_t)i) / 4294967296.0;
        t->values[i] = at_f16_from_f32((float)((norm ? 1 : 0) + scale * (2 * u - 1)));
    }
}

static inline void single_list(struct single_model *m, const char *key)
{
    for (struct at_json v = at_json_first(at_json_get(single_root(m), key)); v.item; v = at_json_next(v)) {
        struct single_tensor *t = &m->file[m->count++];
        t->name = at_json_key(v);
        single_shape(v, t);
    }
}

// `fill`: with values; else names and shapes alone.
static inline bool single_load(struct single_model *m, const char *name, bool fill)
{
    const char *dir = getenv("AT_TEST_GOLDEN");
    char path[512];
    uint8_t *packed = NULL, *json = NULL;
    size_t size = 0, bytes = 0;
    *m = (struct single_model){0};
    snprintf(path, sizeof(path), "%s/single/%s.json.gz", dir ? dir : "tests/golden/data", name);
    bool ok = at_file_read(NULL, path, 1 << 24, &packed, &size) && at_gzip_unpack(NULL, path, packed, size, 1 << 24, &json, &bytes) &&
              (m->doc = at_json_parse(NULL, path, json, bytes, NULL)) && (m->file = at_calloc(SINGLE_MOST, sizeof(*m->file)));
    at_free(packed);
    at_free(json);
    if (!AT_CHECK(ok))
        return false;
    single_list(m, "shapes");
    m->used = m->count;
    single_list(m, "ignored");
    for (size_t i = 0; fill && i < m->count; i++)
        single_fill(&m->file[i], (uint32_t)i + 1);
    return true;
}

static inline void single_finish(struct single_model *m)
{
    for (size_t i = 0; i < m->count; i++)
        at_free(m->file[i].values);
    at_free(m->file);
    at_json_destroy(&m->doc);
}

static inline const struct single_tensor *single_find(const struct single_model *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->file[i].name, name) == 0)
            return &m->file[i];
    return NULL;
}

// One row of the table as diffusers holds it; the values are the caller's to free.
static inline struct single_tensor single_row(const struct single_model *m, struct at_json row)
{
    struct single_tensor t = {0};
    const char *old = "";
    int64_t first = 0;
    bool transposed = false;
    bool ok = at_json_as_str(at_json_at(row, 0), &t.name) && at_json_as_str(at_json_at(row, 2), &old) &&
              at_json_as_int(at_json_at(row, 3), 0, 1 << 24, &first) && at_json_as_bool(at_json_at(row, 4), &transposed);
    single_shape(at_json_at(row, 1), &t);
    const struct single_tensor *from = single_find(m, old);
    if (!AT_CHECK(ok && from) || !from->values)
        return t;
    t.values = at_calloc((size_t)t.elements, 2);
    uint64_t begin = t.rank ? (uint64_t)first * (t.elements / t.shape[0]) : 0;
    for (uint64_t i = 0; i < t.elements; i++) {
        uint64_t at = transposed ? i % t.shape[1] * t.shape[0] + i / t.shape[1] : begin + i;
        t.values[i] = from->values[at];
    }
    return t;
}

static inline struct at_st_item single_item(const struct single_tensor *t)
{
    return (struct at_st_item){.name = t->name, .dtype = AT_ST_F16, .rank = t->rank, .shape = t->shape, .raw = t->values};
}

// The one file. `skip` (may be NULL): a part of the names that are left out.
static inline bool single_write(const struct single_model *m, const char *path, const char *skip,
                                const struct at_st_item *more, size_t more_count, const struct at_st_text *metadata)
{
    struct at_st_item *items = at_calloc(m->count + more_count, sizeof(*items));
    size_t n = 0;
    for (size_t i = 0; items && i < m->count; i++)
        if (!skip || !strstr(m->file[i].name, skip))
            items[n++] = single_item(&m->file[i]);
    for (size_t i = 0; items && i < more_count; i++)
        items[n++] = more[i];
    bool ok = items && at_safetensors_write(NULL, path, &(struct at_st_content){.items = items, .count = n, .metadata = metadata,
                                                                                .metadata_count = metadata ? 1 : 0});
    at_free(items);
    return ok;
}

#endif
