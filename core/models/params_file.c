// SPDX-License-Identifier: Apache-2.0
// Weights between memory and safetensors files.
#include "core/models/params.h"

#include "core/base/alloc.h"
#include "core/base/listing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PART 1000000 // elements that are loaded at a time

static bool report(struct at_log *log, const char *file, const char *what, const struct at_listing *l)
{
    return at_listing_report(l, log, AT_ERROR_INPUT, "%s: %d %s", file, l->count, what);
}

static bool same_shape(const struct at_st_tensor *t, struct at_shape s)
{
    if (t->rank != s.rank)
        return false;
    for (int i = 0; i < s.rank; i++)
        if (t->shape[i] != (uint64_t)s.dim[i])
            return false;
    return true;
}

static void shape_text(const struct at_st_tensor *t, struct at_shape want, char *text, size_t size)
{
    char have[AT_SHAPE_TEXT] = "(";
    size_t used = 1;
    for (int i = 0; i < t->rank && used < sizeof(have); i++)
        used += (size_t)snprintf(have + used, sizeof(have) - used, "%s%llu", i ? "," : "",
                                 (unsigned long long)t->shape[i]);
    char expected[AT_SHAPE_TEXT];
    snprintf(text, size, " is %s), expected %s", have, at_shape_text(want, expected));
}

static bool all_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

// The type on a device that has the tensor's values as they are.
static enum at_dtype dtype_of(const struct at_st_tensor *t)
{
    return t->dtype == AT_ST_F16 ? AT_F16 : t->dtype == AT_ST_BF16 ? AT_BF16 : AT_F32;
}

struct loading {
    const struct at_params *p;
    const struct at_safetensors *file;
    const char *prefix, *path;
    float *file_part, *memory_part; // of one tensor, or its bits
    struct at_listing missing, shapes, nans, wide, unexpected, unused;
};

// The parameter's tensor; NULL if it is missing or of another shape, which is listed.
static const struct at_st_tensor *find_one(struct loading *l, const struct at_param *param)
{
    char name[512], detail[256];
    snprintf(name, sizeof(name), "%s%s", l->prefix, param->name);
    const struct at_st_tensor *t = at_safetensors_find(l->file, name);
    if (!t) {
        at_listing_add(&l->missing, name);
        return NULL;
    }
    l->path = t->file;
    struct at_shape want = at_param_file_shape(param);
    if (same_shape(t, want))
        return t;
    shape_text(t, want, detail, sizeof(detail));
    at_listing_tell(&l->shapes, at_st_origin(t), "%s", detail);
    return NULL;
}

static bool bits_finite(const uint16_t *bits, int64_t n, enum at_dtype dtype)
{
    uint16_t exponent = dtype == AT_F16 ? 0x7c00 : 0x7f80;
    for (int64_t i = 0; i < n; i++)
        if ((bits[i] & exponent) == exponent)
            return false;
    return true;
}

static bool fits(const float *x, int64_t n, enum at_dtype dtype)
{
    for (int64_t i = 0; dtype == AT_F16 && i < n; i++)
        if (fabsf(x[i]) >= 65520) // rounds to infinity
            return false;
    return true;
}

// As at_param_from_file, of bits.
static void turn_bits(const struct at_param *p, const uint16_t *file, uint16_t *memory)
{
    int64_t taps = p->shape.dim[1] * p->shape.dim[2], in = p->shape.dim[3];
    for (int64_t o = 0; o < p->shape.dim[0]; o++)
        for (int64_t t = 0; t < taps; t++)
            for (int64_t i = 0; i < in; i++)
                memory[(o * taps + t) * in + i] = file[(o * in + i) * taps + t];
}

// What load_part found in a parameter's values.
struct found {
    bool infinite, wide;
};

// Elements [first, first + n) of t: whole channels, if it is of a convolution.
static bool load_part(struct loading *l, const struct at_param *param, const struct at_st_tensor *t, int64_t first,
                      int64_t n, struct found *found)
{
    struct at_store *store = l->p->pieces[param->piece].store;
    struct at_param part = *param;
    bool turned = param->layout == AT_LAYOUT_CONV;
    if (turned)
        part.shape.dim[0] = n / (at_shape_count(param->shape) / param->shape.dim[0]);
    if (at_dtype_half(param->dtype) && dtype_of(t) == param->dtype) {
        uint16_t *file = (uint16_t *)(void *)l->file_part, *memory = (uint16_t *)(void *)l->memory_part;
        memcpy(file, t->data + 2 * first, (size_t)n * sizeof(*file));
        found->infinite = found->infinite || !bits_finite(file, n, param->dtype);
        if (turned)
            turn_bits(&part, file, memory);
        return at_store_write_bits(store, param->at + first, turned ? memory : file, n);
    }
    if (!at_safetensors_part_to_f32(l->file, t, (uint64_t)first, (uint64_t)n, l->file_part))
        return false;
    found->infinite = found->infinite || !all_finite(l->file_part, n);
    found->wide = found->wide || !fits(l->file_part, n, param->dtype);
    if (turned)
        at_param_from_file(&part, l->file_part, l->memory_part);
    return at_store_write(store, param->at + first, turned ? l->memory_part : l->file_part, n);
}

// Elements that are loaded at a time: whole channels of a convolution.
static int64_t part_of(const struct at_param *param)
{
    int64_t channel = param->layout == AT_LAYOUT_CONV ? at_shape_count(param->shape) / param->shape.dim[0] : 1;
    return channel < PART ? PART / channel * channel : channel;
}

static bool load_one(struct loading *l, const struct at_param *param)
{
    const struct at_st_tensor *t = find_one(l, param);
    int64_t total = at_shape_count(param->shape), part = part_of(param);
    struct found found = {0};
    bool ok = true;
    for (int64_t first = 0; t && ok && first < total; first += part)
        ok = load_part(l, param, t, first, total - first < part ? total - first : part, &found);
    if (t)
        at_safetensors_pass(l->file, t);
    if (found.infinite)
        at_listing_add(&l->nans, at_st_origin(t));
    else if (found.wide)
        at_listing_add(&l->wide, at_st_origin(t));
    return ok;
}

// Tensors under the prefix that no parameter asked for.
static void find_unexpected(struct loading *l, const char *const *ignored)
{
    size_t skip = strlen(l->prefix);
    for (size_t i = 0; i < at_safetensors_count(l->file); i++) {
        const struct at_st_tensor *t = at_safetensors_at(l->file, i);
        if (strncmp(t->name, l->prefix, skip) != 0 || at_params_find(l->p, t->name + skip))
            continue;
        bool known = false;
        bool all = false;
        for (const char *const *s = ignored; s && *s; s++) {
            known = known || strcmp(t->name + skip, *s) == 0;
            all = all || strcmp(*s, "*") == 0;
        }
        l->path = t->file;
        if (!known)
            at_listing_add(all ? &l->unused : &l->unexpected, at_st_origin(t));
    }
}

static bool report_all(const struct loading *l)
{
    struct at_log *log = l->p->log;
    bool ok = report(log, l->path, "tensors are missing", &l->missing);
    ok = report(log, l->path, "tensors have the wrong shape", &l->shapes) && ok;
    ok = report(log, l->path, "tensors hold values that are not finite", &l->nans) && ok;
    ok = report(log, l->path, "tensors hold values beyond f16 (--weights bf16 or f32 takes them)", &l->wide) && ok;
    return report(log, l->path, "tensors are not part of this model", &l->unexpected) && ok;
}

bool at_params_check(const struct at_params *p, const struct at_safetensors *file, const char *prefix,
                     const char *const *ignored)
{
    struct loading l = {.p = p, .file = file, .prefix = prefix, .path = "weights"};
    for (int i = 0; i < p->count; i++)
        (void)find_one(&l, &p->list[i]);
    find_unexpected(&l, ignored);
    at_listing_warn(&l.unused, p->log, "%s: %d tensors are not part of this model and are not used", l.path,
                    l.unused.count);
    return report_all(&l);
}

bool at_params_load(struct at_params *p, const struct at_safetensors *file, const char *prefix,
                    const char *const *ignored)
{
    int64_t most = PART;
    for (int i = 0; i < p->count; i++)
        most = part_of(&p->list[i]) > most ? part_of(&p->list[i]) : most;
    struct loading l = {.p = p, .file = file, .prefix = prefix, .path = "weights"};
    l.file_part = at_calloc((size_t)most, sizeof(float));
    l.memory_part = at_calloc((size_t)most, sizeof(float));
    bool ok = (l.file_part && l.memory_part) || at_fail_memory(p->log, (size_t)most * 2 * sizeof(float));
    for (int i = 0; ok && i < p->count; i++)
        ok = load_one(&l, &p->list[i]);
    if (ok) {
        find_unexpected(&l, ignored);
        ok = report_all(&l);
    }
    at_free(l.file_part);
    at_free(l.memory_part);
    return ok;
}

void at_params_choose_types(struct at_params *p, enum at_weights weights, const struct at_safetensors *file,
                            const char *prefix)
{
    static const enum at_dtype forced[] = {AT_F32, AT_F32, AT_F16, AT_BF16};
    for (int i = 0; i < p->count; i++) {
        struct at_param *param = &p->list[i];
        char name[512];
        snprintf(name, sizeof(name), "%s%s", prefix, param->name);
        const struct at_st_tensor *t = file && weights == AT_WEIGHTS_STORED ? at_safetensors_find(file, name) : NULL;
        bool matrix = param->shape.rank > 1 && param->layout != AT_LAYOUT_F32;
        param->dtype = !matrix ? AT_F32 : t ? dtype_of(t) : forced[weights];
    }
}

// The parameters as items of a file, whose values are made when they are written.
struct saving {
    const struct at_params *p;
    const struct at_params_save_params *how;
    struct at_st_item *items;
    uint64_t (*shapes)[AT_RANK];
    char **names;
    float *memory, *file; // room for the largest
    const struct at_st_item *ready; // whose values are in `file`
};

static bool give(void *priv, const struct at_st_item *item, uint64_t first, size_t n, float *out)
{
    struct saving *s = priv;
    const struct at_param *param = &s->p->list[item - s->items];
    if (s->ready != item) {
        if (!s->how->values && !at_param_read(s->p, param, s->memory))
            return false;
        at_param_to_file(param, s->how->values ? s->how->values + param->offset : s->memory, s->file);
        s->ready = item;
    }
    memcpy(out, s->file + first, n * sizeof(*out));
    return true;
}

static bool fill_items(struct saving *s)
{
    for (int i = 0; i < s->p->count; i++) {
        const struct at_param *param = &s->p->list[i];
        struct at_shape shape = at_param_file_shape(param);
        s->names[i] = at_strf("%s%s", s->how->prefix ? s->how->prefix : "", param->name);
        if (!s->names[i])
            return at_fail_memory(s->p->log, strlen(param->name));
        for (int d = 0; d < shape.rank; d++)
            s->shapes[i][d] = (uint64_t)shape.dim[d];
        s->items[i] = (struct at_st_item){.name = s->names[i], .dtype = s->how->dtype, .rank = shape.rank,
                                          .shape = s->shapes[i]};
    }
    return true;
}

static size_t widest(const struct at_params *p)
{
    int64_t most = 1;
    for (int i = 0; i < p->count; i++)
        most = at_shape_count(p->list[i].shape) > most ? at_shape_count(p->list[i].shape) : most;
    return (size_t)most;
}

bool at_params_save(const struct at_params *p, const struct at_params_save_params *how)
{
    size_t n = (size_t)p->count, most = widest(p);
    struct saving s = {.p = p, .how = how, .items = at_calloc(n, sizeof(*s.items)),
                       .shapes = at_calloc(n, sizeof(*s.shapes)), .names = at_calloc(n, sizeof(*s.names)),
                       .memory = how->values ? NULL : at_calloc(most, sizeof(float)),
                       .file = at_calloc(most, sizeof(float))};
    bool ok = s.items && s.shapes && s.names && (how->values || s.memory) && s.file;
    if (!ok)
        at_fail_memory(p->log, most * sizeof(float));
    ok = ok && fill_items(&s);
    struct at_st_text format = {"format", "pt"};
    struct at_st_content content = {.items = s.items, .count = n, .metadata = how->metadata ? how->metadata : &format,
                                    .metadata_count = how->metadata ? how->metadata_count : 1, .give = give, .priv = &s};
    ok = ok && at_safetensors_write(p->log, how->path, &content);
    for (size_t i = 0; s.names && i < n; i++)
        at_free(s.names[i]);
    at_free(s.names);
    at_free(s.items);
    at_free(s.shapes);
    at_free(s.memory);
    at_free(s.file);
    return ok;
}
