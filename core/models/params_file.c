// SPDX-License-Identifier: Apache-2.0
// Weights between memory and safetensors files.
#include "core/models/params.h"

#include "core/base/alloc.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LISTED 12 // names in one message

// Names of one kind of trouble, as many as fit.
struct listing {
    char text[1200];
    size_t used;
    int count;
};

static void list(struct listing *l, const char *name, const char *detail)
{
    if (l->count++ < LISTED && l->used < sizeof(l->text))
        l->used += (size_t)snprintf(l->text + l->used, sizeof(l->text) - l->used, "\n  %s%s", name, detail);
}

static bool report(struct at_log *log, const char *file, const char *what, const struct listing *l)
{
    if (!l->count)
        return true;
    return at_fail(log, AT_ERROR_INPUT, "%s: %d %s:%s%s", file, l->count, what, l->text,
                   l->count > LISTED ? "\n  ..." : "");
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

struct loading {
    const struct at_params *p;
    const struct at_safetensors *file;
    const char *prefix, *path;
    float *values, *buffer;
    struct listing missing, shapes, nans, unexpected, unused;
};

// The parameter's tensor; NULL if it is missing or of another shape, which is listed.
static const struct at_st_tensor *find_one(struct loading *l, const struct at_param *param)
{
    char name[512], detail[256];
    snprintf(name, sizeof(name), "%s%s", l->prefix, param->name);
    const struct at_st_tensor *t = at_safetensors_find(l->file, name);
    if (!t) {
        list(&l->missing, name, "");
        return NULL;
    }
    l->path = t->file;
    struct at_shape want = at_param_file_shape(param);
    if (same_shape(t, want))
        return t;
    shape_text(t, want, detail, sizeof(detail));
    list(&l->shapes, at_st_origin(t), detail);
    return NULL;
}

static bool load_one(struct loading *l, const struct at_param *param)
{
    const struct at_st_tensor *t = find_one(l, param);
    if (!t)
        return true;
    if (!at_safetensors_to_f32(l->file, t, l->buffer))
        return false;
    if (!all_finite(l->buffer, at_shape_count(param->shape)))
        list(&l->nans, at_st_origin(t), "");
    at_param_from_file(param, l->buffer, l->values + param->offset);
    return true;
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
            list(all ? &l->unused : &l->unexpected, at_st_origin(t), "");
    }
}

static bool report_all(const struct loading *l)
{
    struct at_log *log = l->p->log;
    bool ok = report(log, l->path, "tensors are missing", &l->missing);
    ok = report(log, l->path, "tensors have the wrong shape", &l->shapes) && ok;
    ok = report(log, l->path, "tensors hold values that are not finite", &l->nans) && ok;
    return report(log, l->path, "tensors are not part of this model", &l->unexpected) && ok;
}

bool at_params_check(const struct at_params *p, const struct at_safetensors *file, const char *prefix,
                     const char *const *ignored)
{
    struct loading l = {.p = p, .file = file, .prefix = prefix, .path = "weights"};
    for (int i = 0; i < p->count; i++)
        (void)find_one(&l, &p->list[i]);
    find_unexpected(&l, ignored);
    if (l.unused.count)
        at_warn(p->log, "%s: %d tensors are not part of this model and are not used:%s%s", l.path, l.unused.count,
                l.unused.text, l.unused.count > LISTED ? "\n  ..." : "");
    return report_all(&l);
}

bool at_params_load(struct at_params *p, const struct at_safetensors *file, const char *prefix,
                    const char *const *ignored)
{
    int64_t widest = 1;
    for (int i = 0; i < p->count; i++)
        if (at_shape_count(p->list[i].shape) > widest)
            widest = at_shape_count(p->list[i].shape);
    struct loading l = {.p = p, .file = file, .prefix = prefix, .path = "weights"};
    l.values = at_calloc((size_t)p->total, sizeof(float));
    l.buffer = at_calloc((size_t)widest, sizeof(float));
    bool ok = l.values && l.buffer;
    if (!ok)
        at_fail_memory(p->log, (size_t)(p->total + widest) * sizeof(float));
    for (int i = 0; ok && i < p->count; i++)
        ok = load_one(&l, &p->list[i]);
    if (ok) {
        find_unexpected(&l, ignored);
        ok = report_all(&l);
    }
    ok = ok && at_params_write(p, l.values);
    at_free(l.values);
    at_free(l.buffer);
    return ok;
}

// The parameters as items of a file; names and converted values go to `texts` and `values`.
struct saving {
    struct at_st_item *items;
    uint64_t (*shapes)[AT_RANK];
    char **names;
    float *memory, *file;
};

static bool fill_items(const struct at_params *p, const struct at_params_save_params *how, struct saving *s)
{
    const float *values = how->values;
    if (!values) {
        if (!at_params_read(p, s->memory))
            return false;
        values = s->memory;
    }
    for (int i = 0; i < p->count; i++) {
        const struct at_param *param = &p->list[i];
        struct at_shape shape = at_param_file_shape(param);
        s->names[i] = at_strf("%s%s", how->prefix ? how->prefix : "", param->name);
        if (!s->names[i])
            return at_fail_memory(p->log, strlen(param->name));
        for (int d = 0; d < shape.rank; d++)
            s->shapes[i][d] = (uint64_t)shape.dim[d];
        at_param_to_file(param, values + param->offset, s->file + param->offset);
        s->items[i] = (struct at_st_item){.name = s->names[i], .dtype = how->dtype, .rank = shape.rank,
                                          .shape = s->shapes[i], .data = s->file + param->offset};
    }
    return true;
}

bool at_params_save(const struct at_params *p, const struct at_params_save_params *how)
{
    size_t n = (size_t)p->count;
    struct saving s = {.items = at_calloc(n, sizeof(*s.items)), .shapes = at_calloc(n, sizeof(*s.shapes)),
                       .names = at_calloc(n, sizeof(*s.names)),
                       .memory = at_calloc((size_t)p->total, sizeof(float)),
                       .file = at_calloc((size_t)p->total, sizeof(float))};
    bool ok = s.items && s.shapes && s.names && s.memory && s.file;
    if (!ok)
        at_fail_memory(p->log, (size_t)p->total * sizeof(float));
    ok = ok && fill_items(p, how, &s);
    struct at_st_text format = {"format", "pt"};
    struct at_st_content content = {.items = s.items, .count = n, .metadata = how->metadata ? how->metadata : &format,
                                    .metadata_count = how->metadata ? how->metadata_count : 1};
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
