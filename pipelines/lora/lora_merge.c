// SPDX-License-Identifier: Apache-2.0
#include "pipelines/lora/lora_merge.h"

#include "core/base/alloc.h"
#include "pipelines/source/source_write.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PARALLEL (1 << 16) // products from which threads pay

// An adapter's layer for the weight that is being written.
struct halves {
    double *down, *up; // (rank,in), (out,rank) times strength * alpha / rank; NULL: it has none
    size_t down_room, up_room;
    int rank;
};

struct merging {
    const struct at_lora_merge_params *p;
    struct at_log *log;
    const struct at_st_tensor *ready; // whose layers are held
    struct halves *halves;            // one a share
    float *read;
    size_t read_room;
};

// What an adapter does to the weight of this name.
static const struct at_lora_layer *layer_of(const struct at_lora_data *d, const char *component, const char *name)
{
    size_t n = strlen(name);
    if (n <= 7 || strcmp(name + n - 7, ".weight") != 0)
        return NULL;
    bool bare = strncmp(component, "text_encoder", 12) == 0 && strncmp(name, "encoder.", 8) == 0;
    char id[AT_LORA_NAME + 64];
    snprintf(id, sizeof(id), "%s.%s%.*s", component, bare ? "text_model." : "", (int)(n - 7), name);
    int i = at_index_find(&d->index, d->list, sizeof(*d->list), id);
    return i < 0 ? NULL : &d->list[i];
}

static bool changes(void *priv, const char *component, const struct at_st_tensor *t)
{
    const struct merging *g = priv;
    for (int i = 0; i < g->p->count; i++)
        if (layer_of(g->p->shares[i].data, component, t->name))
            return true;
    return false;
}

static bool read_half(struct merging *g, const struct at_lora_data *d, const struct at_st_tensor *half, double factor,
                      double **out, size_t *room)
{
    size_t n = (size_t)half->elements;
    if (!at_grow((void **)&g->read, &g->read_room, n, sizeof(*g->read)) || !at_grow((void **)out, room, n, sizeof(**out)))
        return at_fail_memory(g->log, n * sizeof(**out));
    if (!at_lora_data_read(d, half, g->read))
        return false;
    for (size_t i = 0; i < n; i++)
        (*out)[i] = factor * (double)g->read[i];
    return true;
}

static bool read_layers(struct merging *g, const char *component, const struct at_st_tensor *t)
{
    for (int i = 0; i < g->p->count; i++) {
        const struct at_lora_share *share = &g->p->shares[i];
        const struct at_lora_layer *l = layer_of(share->data, component, t->name);
        struct halves *h = &g->halves[i];
        h->rank = l ? l->rank : 0;
        if (!l)
            continue;
        int64_t in = l->in * l->kernel * l->kernel;
        if ((uint64_t)(l->out * in) != t->elements)
            return at_fail(g->log, AT_ERROR_INPUT, "%s: the weight has %llu values, but %s of %s is for %lld", t->name,
                           (unsigned long long)t->elements, l->id, share->data->path, (long long)(l->out * in));
        if (!read_half(g, share->data, l->down, 1, &h->down, &h->down_room) ||
            !read_half(g, share->data, l->up, share->strength * (double)l->alpha / l->rank, &h->up, &h->up_room))
            return false;
    }
    g->ready = t;
    return true;
}

// sum (n) += up_row (rank) down (rank,in), columns [column, column + n)
static void add_row(double *sum, size_t n, size_t column, size_t in, const struct halves *h, const double *up_row)
{
    for (int r = 0; r < h->rank; r++) {
        double u = up_row[r];
        const double *d = h->down + (size_t)r * in + column;
        for (size_t i = 0; i < n; i++)
            sum[i] += u * d[i];
    }
}

// The values [first, first + n) of a weight of rows of `in`.
static void add_product(double *values, uint64_t first, size_t n, size_t in, const struct halves *h)
{
    uint64_t row = first / in, rows = (first + n + in - 1) / in - row;
#pragma omp parallel for if (n * (size_t)h->rank > PARALLEL)
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t begin = (row + i) * in, end = begin + in;
        begin = begin < first ? first : begin;
        end = end > first + n ? first + n : end;
        add_row(values + (begin - first), (size_t)(end - begin), (size_t)(begin % in), in, h,
                h->up + (row + i) * (uint64_t)h->rank);
    }
}

static bool change(void *priv, const char *component, const struct at_st_tensor *t, uint64_t first, size_t n,
                   double *values)
{
    struct merging *g = priv;
    if (g->ready != t && !read_layers(g, component, t))
        return false;
    for (int i = 0; i < g->p->count; i++)
        if (g->halves[i].rank)
            add_product(values, first, n, (size_t)(t->elements / t->shape[0]), &g->halves[i]);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return at_fail(g->log, AT_ERROR_FAILED, "%s.%s: the merged weight is not finite", component, t->name);
    return true;
}

static bool progress(void *priv, double done)
{
    const struct merging *g = priv;
    return !g->p->progress || g->p->progress(g->p->priv, done);
}

bool at_lora_merge(const struct at_model *m, const struct at_lora_merge_params *p)
{
    struct merging g = {.p = p, .log = m->log, .halves = at_calloc((size_t)p->count + 1, sizeof(*g.halves))};
    struct at_source_write_params how = {.out = p->out, .replace = p->replace, .convert = p->convert, .dtype = p->dtype,
                                         .changes = changes, .change = change, .progress = progress, .priv = &g};
    bool ok = (g.halves || at_fail_memory(g.log, sizeof(*g.halves))) && at_source_write(m->source, &how);
    for (int i = 0; g.halves && i < p->count; i++) {
        at_free(g.halves[i].down);
        at_free(g.halves[i].up);
    }
    at_free(g.halves);
    at_free(g.read);
    return ok;
}
