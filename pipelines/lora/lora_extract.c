// SPDX-License-Identifier: Apache-2.0
#include "pipelines/lora/lora_extract.h"

#include "core/base/alloc.h"
#include "pipelines/lora/lora_write.h"
#include "pipelines/lora/low_rank.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PIECE 4096 // values looked at at once

// A layer, and its halves as a file would have them.
struct taken {
    const struct at_layer *layer;
    const struct at_st_tensor *from, *to; // its weight in both models
    int rank;
    double squares, kept;
    float *down, *up;
    struct at_st_tensor halves[2];
    uint64_t shapes[2][4];
};

struct extraction {
    const struct at_lora_extract_params *p;
    struct at_log *log;
    struct at_layers *layers;
    struct at_safetensors *from[AT_COMPONENTS], *to[AT_COMPONENTS];
    struct taken *list;
    int count;
    double squares; // of all differences
};

// Of the difference of n values from the first on; false (logged): a type that holds no numbers.
static bool difference(const struct extraction *e, const struct at_safetensors *st, const struct at_st_tensor *from,
                       const struct at_st_tensor *to, float *out, double *squares)
{
    float a[PIECE], b[PIECE];
    double sum = 0;
    for (uint64_t at = 0; at < from->elements; at += PIECE) {
        uint64_t n = from->elements - at < PIECE ? from->elements - at : PIECE;
        if (!at_safetensors_part_to_f32(st, from, at, n, a) || !at_safetensors_part_to_f32(st, to, at, n, b))
            return false;
        for (uint64_t i = 0; i < n; i++) {
            double d = (double)b[i] - (double)a[i];
            sum += d * d;
            if (out)
                out[at + i] = (float)d;
        }
    }
    *squares = sum;
    return isfinite(sum) || at_fail(e->log, AT_ERROR_INPUT, "%s: a value is not finite in one of the models", to->name);
}

static bool same_shape(const struct at_st_tensor *a, const struct at_st_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, (size_t)a->rank * sizeof(*a->shape)) == 0;
}

static const struct at_st_tensor *counterpart(const struct at_safetensors *st, const char *name)
{
    char other[AT_LORA_NAME + 32];
    const struct at_st_tensor *t = at_safetensors_find(st, name);
    if (t)
        return t;
    if (strncmp(name, "text_model.", 11) == 0) // which some versions of transformers write and some do not
        return at_safetensors_find(st, name + 11);
    snprintf(other, sizeof(other), "text_model.%s", name);
    return at_safetensors_find(st, other);
}

static const struct at_layer *layer_of(const struct extraction *e, enum at_component c, const char *name)
{
    char stem[AT_LORA_NAME + 32];
    size_t n = strlen(name);
    if (n <= 7 || n >= AT_LORA_NAME || strcmp(name + n - 7, ".weight") != 0)
        return NULL;
    bool bare = c != AT_COMPONENT_UNET && strncmp(name, "encoder.", 8) == 0;
    snprintf(stem, sizeof(stem), "%s%.*s", bare ? "text_model." : "", (int)(n - 7), name);
    return at_layers_find(e->layers, c, stem);
}

// Measures all differences of a component, and notes the layers that have one.
static bool compare(struct extraction *e, enum at_component c)
{
    bool ok = true;
    for (size_t i = 0; ok && i < at_safetensors_count(e->from[c]); i++) {
        const struct at_st_tensor *from = at_safetensors_at(e->from[c], i), *to = counterpart(e->to[c], from->name);
        double squares = 0;
        if (!to || !same_shape(from, to))
            return at_fail(e->log, AT_ERROR_INPUT, "%s: %s of the %s is %s; the two must be of one architecture",
                           e->p->tuned->path, from->name, at_component_name(c), to ? "of another shape" : "missing");
        ok = difference(e, e->from[c], from, to, NULL, &squares);
        e->squares += squares;
        const struct at_layer *layer = squares > 0 ? layer_of(e, c, from->name) : NULL;
        if (!layer || (e->p->linear && layer->kernel > 1))
            continue;
        int64_t in = layer->in * layer->kernel * layer->kernel, least = in < layer->out ? in : layer->out;
        e->list[e->count++] = (struct taken){.layer = layer, .from = from, .to = to, .squares = squares,
                                             .rank = e->p->rank < least ? e->p->rank : (int)least};
        ok = ok && (uint64_t)(in * layer->out) == from->elements;
    }
    return ok;
}

static bool open_all(struct extraction *e)
{
    e->layers = at_lora_layers(e->p->base);
    e->list = e->layers ? at_calloc((size_t)e->layers->count, sizeof(*e->list)) : NULL;
    bool ok = e->layers && (e->list || at_fail_memory(e->log, (size_t)e->layers->count * sizeof(*e->list)));
    for (int c = 0; ok && c < AT_COMPONENTS; c++) {
        if (!at_layers_find(e->layers, (enum at_component)c, NULL))
            continue;
        const char *name = at_component_name((enum at_component)c);
        ok = (e->from[c] = at_source_weights(e->p->base->source, name)) &&
             (e->to[c] = at_source_weights(e->p->tuned->source, name)) && compare(e, (enum at_component)c);
    }
    if (ok && !e->count)
        ok = at_fail(e->log, AT_ERROR_INPUT, "%s and %s have the same weights in every layer that an adapter can be of",
                     e->p->base->path, e->p->tuned->path);
    return ok;
}

// Without a word on failure, which is a lack of memory.
static bool reduce(const struct extraction *e, struct taken *t)
{
    const struct at_layer *l = t->layer;
    int64_t out = l->out, in = l->in * l->kernel * l->kernel;
    double squares;
    float *values = at_calloc((size_t)t->from->elements, sizeof(*values));
    t->up = at_calloc((size_t)(out * t->rank), sizeof(*t->up));
    t->down = at_calloc((size_t)(in * t->rank), sizeof(*t->down));
    bool ok = values && t->up && t->down &&
              difference(e, e->from[l->component], t->from, t->to, values, &squares) &&
              at_low_rank(values, out, in, t->rank, (uint64_t)(t - e->list), t->up, t->down, &t->kept);
    at_free(values);
    return ok;
}

// The layers, each on a thread.
static bool reduce_all(struct extraction *e)
{
    int done = 0, failed = 0, stopped = 0;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < e->count; i++) {
        int skip;
#pragma omp atomic read
        skip = stopped;
        bool ok = skip || reduce(e, &e->list[i]);
#pragma omp critical(at_lora_extract)
        {
            failed = failed || !ok;
            done++;
            bool on = !e->p->progress || stopped || e->p->progress(e->p->priv, (double)done / e->count);
#pragma omp atomic write
            stopped = stopped || failed || !on;
        }
    }
    if (failed)
        return at_fail_memory(e->log, (size_t)e->list[0].from->elements * sizeof(float));
    return !stopped || at_fail(e->log, AT_ERROR_INTERRUPTED, "interrupted; nothing is written to %s", e->p->out);
}

static void make_half(struct taken *t, bool down)
{
    const struct at_layer *l = t->layer;
    uint64_t *shape = t->shapes[!down], kernel = (uint64_t)(down ? l->kernel : 1);
    shape[0] = (uint64_t)(down ? t->rank : l->out);
    shape[1] = (uint64_t)(down ? l->in : t->rank);
    shape[2] = shape[3] = kernel;
    uint64_t n = shape[0] * shape[1] * kernel * kernel;
    t->halves[!down] = (struct at_st_tensor){.name = t->from->name, .dtype = AT_ST_F32, .rank = l->conv ? 4 : 2,
                                             .shape = shape, .elements = n, .bytes = n * sizeof(float),
                                             .data = (const uint8_t *)(down ? t->down : t->up), .file = "difference"};
}

static bool write(struct extraction *e)
{
    struct at_lora_data d = {.log = e->log, .layers = e->layers, .count = e->count,
                             .list = at_calloc((size_t)e->count, sizeof(*d.list))};
    bool ok = d.list || at_fail_memory(e->log, (size_t)e->count * sizeof(*d.list));
    for (int i = 0; ok && i < e->count; i++) {
        struct taken *t = &e->list[i];
        const struct at_layer *l = t->layer;
        const char *component = at_component_name(l->component);
        make_half(t, true);
        make_half(t, false);
        d.list[i] = (struct at_lora_layer){.id = at_strf("%s.%s", component, l->name), .name = l->name, .layer = l,
                                           .component = l->component, .rank = t->rank, .kernel = l->kernel, .in = l->in,
                                           .out = l->out, .alpha = (float)t->rank, .down = &t->halves[0],
                                           .up = &t->halves[1]};
        ok = d.list[i].id || at_fail_memory(e->log, strlen(l->name));
    }
    ok = ok && at_lora_write(&d, &(struct at_lora_write_params){.path = e->p->out, .dialect = AT_LORA_DIFFUSERS,
                                                                .convert = true, .dtype = e->p->dtype});
    for (int i = 0; d.list && i < e->count; i++)
        at_free(d.list[i].id);
    at_free(d.list);
    return ok;
}

bool at_lora_extract(const struct at_lora_extract_params *p, struct at_lora_extracted *out)
{
    struct extraction e = {.p = p, .log = p->base->log};
    bool ok = open_all(&e) && reduce_all(&e) && write(&e);
    double adaptable = 0, kept = 0;
    for (int i = 0; i < e.count; i++) {
        adaptable += e.list[i].squares;
        kept += e.list[i].kept;
        at_free(e.list[i].down);
        at_free(e.list[i].up);
    }
    *out = (struct at_lora_extracted){.layers = e.count, .all = sqrt(e.squares), .adaptable = sqrt(adaptable),
                                      .lost = sqrt(fmax(0, adaptable - kept))};
    for (int c = 0; c < AT_COMPONENTS; c++) {
        at_safetensors_destroy(&e.from[c]);
        at_safetensors_destroy(&e.to[c]);
    }
    at_layers_destroy(&e.layers);
    at_free(e.list);
    return ok || at_fail_unsaid(p->base->log);
}
