// SPDX-License-Identifier: Apache-2.0
#include "datasets/latents.h"

#include "core/base/alloc.h"
#include "core/io/safetensors.h"

#include <math.h>
#include <string.h>

#define MOST_SIDE 32768
#define MOST_CHANNELS 64

void at_latents_finish(struct at_latents *l)
{
    at_free(l->values);
    at_free(l->prompts);
    at_json_destroy(&l->about);
    *l = (struct at_latents){0};
}

// Between (n,C,area) and (n,area,C).
static void to_channels_last(const float *from, size_t n, size_t channels, size_t area, float *to)
{
    for (size_t i = 0; i < n; i++, from += channels * area, to += channels * area)
        for (size_t p = 0; p < area; p++)
            for (size_t c = 0; c < channels; c++)
                to[p * channels + c] = from[c * area + p];
}

static void to_planes(const float *from, size_t n, size_t channels, size_t area, float *to)
{
    for (size_t i = 0; i < n; i++, from += channels * area, to += channels * area)
        for (size_t p = 0; p < area; p++)
            for (size_t c = 0; c < channels; c++)
                to[c * area + p] = from[p * channels + c];
}

static bool read_shape(struct at_log *log, const char *name, const struct at_st_tensor *t, struct at_latents *l)
{
    if (t->rank != 4 && t->rank != 3)
        return at_fail(log, AT_ERROR_INPUT, "%s: \"latents\" has %d dimensions; (N,C,h,w) is needed", name, t->rank);
    const uint64_t *s = t->rank == 4 ? t->shape + 1 : t->shape;
    uint64_t count = t->rank == 4 ? t->shape[0] : 1;
    if (count < 1 || count > AT_LATENTS_MOST || s[0] < 1 || s[0] > MOST_CHANNELS || s[1] < 1 || s[1] > MOST_SIDE ||
        s[2] < 1 || s[2] > MOST_SIDE)
        return at_fail(log, AT_ERROR_INPUT, "%s: \"latents\" is (%llu,%llu,%llu,%llu); at most (%d,%d,%d,%d), and none "
                       "of them 0", name, (unsigned long long)count, (unsigned long long)s[0], (unsigned long long)s[1],
                       (unsigned long long)s[2], AT_LATENTS_MOST, MOST_CHANNELS, MOST_SIDE, MOST_SIDE);
    l->count = (int)count;
    l->channels = (int)s[0];
    l->height = (int)s[1];
    l->width = (int)s[2];
    return true;
}

static bool read_values(struct at_log *log, const char *name, const struct at_safetensors *st, struct at_latents *l)
{
    const struct at_st_tensor *t = at_safetensors_find(st, "latents");
    if (!t)
        return at_fail(log, AT_ERROR_INPUT, "%s: there is no tensor \"latents\" in it; attune invert writes such a file",
                       name);
    if (!read_shape(log, name, t, l))
        return false;
    size_t n = (size_t)t->elements;
    float *planes = at_calloc(n, sizeof(float));
    l->values = at_calloc(n, sizeof(float));
    bool ok = (planes && l->values) || at_fail_memory(log, 2 * n * sizeof(float));
    ok = ok && at_safetensors_to_f32(st, t, planes);
    for (size_t i = 0; ok && i < n; i++)
        if (!isfinite(planes[i]))
            ok = at_fail(log, AT_ERROR_INPUT, "%s: value %zu of \"latents\" is not finite", name, i);
    if (ok)
        to_channels_last(planes, (size_t)l->count, (size_t)l->channels, (size_t)l->height * (size_t)l->width, l->values);
    at_free(planes);
    return ok;
}

static bool read_prompts(struct at_log *log, struct at_json root, struct at_latents *l)
{
    struct at_json list;
    if (!at_json_array(root, "prompts", &list))
        return false;
    if (!at_json_present(list))
        return true;
    if (at_json_count(list) != (size_t)l->count)
        return at_json_fail(list, "%zu prompts for %d latents", at_json_count(list), l->count);
    if (!(l->prompts = at_calloc((size_t)l->count, sizeof(*l->prompts))))
        return at_fail_memory(log, (size_t)l->count * sizeof(*l->prompts));
    size_t i = 0;
    for (struct at_json text = at_json_first(list); text.item; text = at_json_next(text), i++)
        if (!at_json_as_str(text, &l->prompts[i]))
            return false;
    return true;
}

static bool read_about(struct at_log *log, const char *name, const char *text, struct at_latents *l)
{
    if (!text)
        return true;
    char *where = at_strf("%s: metadata \"attune\"", name);
    l->about = where ? at_json_parse(log, where, text, strlen(text), NULL) : NULL;
    at_free(where);
    if (!l->about)
        return false;
    struct at_json root = at_json_root(l->about), model;
    if (!at_json_is_object(root))
        return at_json_fail(root, "expected an object");
    return read_prompts(log, root, l) && at_json_str(root, "negative", NULL, &l->negative) &&
           at_json_int(root, "steps", 0, 1, 1 << 20, &l->steps) && at_json_num(root, "cfg", 0, &l->cfg) &&
           at_json_object(root, "model", &model) && at_json_str(model, "unet_sha256", NULL, &l->unet_sha256);
}

static bool read_all(struct at_log *log, const char *name, struct at_safetensors *st, struct at_latents *l)
{
    *l = (struct at_latents){0};
    bool ok = st && read_values(log, name, st, l) && read_about(log, name, at_safetensors_metadata(st, "attune"), l);
    at_safetensors_destroy(&st);
    if (!ok)
        at_latents_finish(l);
    return ok;
}

bool at_latents_parse(struct at_log *log, const char *name, const void *bytes, size_t size, struct at_latents *latents)
{
    return read_all(log, name, at_safetensors_parse(log, name, bytes, size), latents);
}

bool at_latents_read(struct at_log *log, const char *path, struct at_latents *latents)
{
    return read_all(log, path, at_safetensors_open(log, path), latents);
}

bool at_latents_write(struct at_log *log, const char *path, const struct at_latents *l)
{
    const uint64_t shape[] = {(uint64_t)l->count, (uint64_t)l->channels, (uint64_t)l->height, (uint64_t)l->width};
    size_t area = (size_t)l->height * (size_t)l->width, n = (size_t)l->count * (size_t)l->channels * area;
    float *planes = at_calloc(n, sizeof(float));
    char *about = planes ? at_json_text(l->about, false) : NULL;
    if (!about) {
        at_free(planes);
        return at_fail_memory(log, n * sizeof(float));
    }
    to_planes(l->values, (size_t)l->count, (size_t)l->channels, area, planes);
    const struct at_st_item item = {.name = "latents", .dtype = AT_ST_F32, .rank = 4, .shape = shape, .data = planes};
    const struct at_st_text texts[] = {{"attune", about}, {"format", "pt"}};
    bool ok = at_safetensors_write(log, path, &(struct at_st_content){&item, 1, texts, 2});
    at_free(planes);
    at_free(about);
    return ok;
}
