// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/captions.h"

#include "core/base/alloc.h"
#include "core/base/index.h"
#include "core/graph/dry.h"
#include "pipelines/train/cache.h"

#include <stdio.h>
#include <string.h>

#define AT_ONCE 256 // captions encoded before asking whether to go on

struct caption {
    char *text;
};

struct at_captions {
    struct at_model *m;
    struct at_captions_params p;
    struct caption *list;
    int count;
    size_t capacity, id_capacity;
    struct at_index index;
    int length;   // integers of a tokenised caption
    size_t text;  // floats of a row of text
    int32_t *ids; // (count,length)
    float *rows;  // (count,text)
    // The batch: rows (items,row), or tokens (items,length), the same by ports, and sizes (items,6).
    size_t row;
    float *told;
    int32_t *tokens, *split;
};

struct at_captions *at_captions_create(struct at_model *m, const struct at_captions_params *p)
{
    struct at_captions *c = at_calloc(1, sizeof(*c));
    if (!c) {
        at_fail_memory(m->log, sizeof(*c));
        return NULL;
    }
    *c = (struct at_captions){.m = m, .p = *p, .length = at_text_ids(m), .text = at_text_floats(m)};
    c->row = p->in_graph ? AT_SIZES : at_condition_floats(&m->unet, at_text_tokens(m));
    size_t items = (size_t)p->items, tokens = p->in_graph ? items * (size_t)c->length : 1;
    int32_t empty;
    bool ok = (c->told = at_calloc(items * c->row, sizeof(float))) && (c->tokens = at_calloc(tokens, sizeof(int32_t))) &&
              (c->split = at_calloc(tokens, sizeof(int32_t)));
    if (!ok)
        at_fail_memory(m->log, (items * c->row + 2 * tokens) * sizeof(float));
    if (!ok || !at_text_check(m, &p->text) || !at_captions_add(c, "", &empty))
        at_captions_destroy(&c);
    return c;
}

void at_captions_destroy(struct at_captions **captions)
{
    struct at_captions *c = *captions;
    if (!c)
        return;
    for (int i = 0; i < c->count; i++)
        at_free(c->list[i].text);
    at_index_finish(&c->index);
    void *const buffers[] = {c->list, c->ids, c->rows, c->told, c->tokens, c->split, c};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); i++)
        at_free(buffers[i]);
    *captions = NULL;
}

bool at_captions_add(struct at_captions *c, const char *caption, int32_t *number)
{
    *number = (int32_t)at_index_find(&c->index, c->list, sizeof(*c->list), caption);
    if (*number >= 0)
        return true;
    size_t n = (size_t)c->count + 1, length = (size_t)c->length;
    char *text = at_strdup(caption);
    if (!text || !at_grow((void **)&c->list, &c->capacity, n, sizeof(*c->list)) ||
        !at_grow((void **)&c->ids, &c->id_capacity, n * length, sizeof(*c->ids))) {
        at_free(text);
        return at_fail_memory(c->m->log, n * length * sizeof(*c->ids));
    }
    *number = c->count;
    c->list[c->count++].text = text;
    return (at_index_add(&c->index, c->list, sizeof(*c->list), c->count) || at_fail_memory(c->m->log, sizeof(int))) &&
           at_text_tokenize(c->m, caption, c->ids + (size_t)*number * length);
}

static bool compute(void *priv, const void *ids, int n, float *rows)
{
    const struct at_captions *c = priv;
    bool ok = true;
    for (int first = 0; ok && first < n; first += AT_ONCE) {
        int count = n - first < AT_ONCE ? n - first : AT_ONCE;
        ok = (!c->p.train || at_train_goes_on(c->p.train, c->m->log)) &&
             at_text_encode(c->m, (const int32_t *)ids + (size_t)first * (size_t)c->length, count, &c->p.text,
                            rows + (size_t)first * c->text);
    }
    return ok;
}

bool at_captions_encode(struct at_captions *c, const char *folder)
{
    if (c->p.in_graph)
        return true;
    c->rows = at_calloc((size_t)c->count * c->text, sizeof(float));
    if (!c->rows)
        return at_fail_memory(c->m->log, (size_t)c->count * c->text * sizeof(float));
    struct at_params *const weights[AT_TEXTS] = {c->m->text[0].params, c->m->text[1].params};
    char what[32] = "hidden";
    if (c->p.text.clip_skip)
        snprintf(what, sizeof(what), "hidden-%d", c->p.text.clip_skip);
    struct at_cache *cache = at_cache_open(weights, c->m->texts, what, at_is_dry(c->m->dev) ? NULL : folder);
    struct at_cache_rows rows = {c->ids, (size_t)c->length * sizeof(*c->ids), c->count, c->rows, c->text, compute, c};
    bool ok = cache && at_cache_rows(cache, &rows);
    at_cache_close(&cache);
    return ok;
}

const float *at_captions_row(const struct at_captions *c, int32_t number)
{
    return c->rows ? c->rows + (size_t)number * c->text : NULL;
}

int at_captions_inputs(const struct at_captions *c, struct at_graph *g, int batch, struct at_node **in)
{
    int n = c->p.in_graph ? at_text_inputs(c->m, g, batch, in) : 0;
    if (!c->p.in_graph)
        in[n++] = at_graph_input(g, "rows", AT_SHAPE(batch, (int64_t)c->row), AT_F32);
    else if (c->m->unet.addition_time)
        in[n++] = at_graph_input(g, "sizes", AT_SHAPE(batch, AT_SIZES), AT_F32);
    return n;
}

struct at_node *at_captions_unet(const struct at_captions *c, struct at_builder *unet, struct at_node *x,
                                 struct at_node *t, struct at_node *const *in)
{
    if (!c->p.in_graph)
        return at_condition_unet(unet, &c->m->unet, x, t, in[0]);
    struct at_unet_inputs to = {.x = x, .t = t};
    to.context = at_text_graph(c->m, unet, &c->p.text, in, &to.pooled);
    to.time_ids = c->m->unet.addition_time ? in[c->m->texts + 1] : NULL; // after ids and the end token's place
    return at_unet(unet, &c->m->unet, &to);
}

void at_captions_put(struct at_captions *c, int i, int32_t number, const struct at_sizes *sizes)
{
    float *told = c->told + (size_t)i * c->row;
    size_t length = (size_t)c->length;
    if (c->p.in_graph) {
        memcpy(c->tokens + (size_t)i * length, c->ids + (size_t)number * length, length * sizeof(*c->ids));
        at_sizes_fill(sizes, told);
        return;
    }
    struct at_condition condition = {.text = at_captions_row(c, number), .sizes = sizes};
    at_condition_fill(&c->m->unet, at_text_tokens(c->m), &condition, told);
}

void at_captions_tell(struct at_captions *c, int i, const float *row)
{
    memcpy(c->told + (size_t)i * c->row, row, c->row * sizeof(float));
}

int at_captions_ports(struct at_captions *c, const void **in)
{
    int n = c->p.in_graph ? at_text_split(c->m, c->tokens, c->p.items, c->split, in) : 0;
    in[n] = c->told;
    return n + (!c->p.in_graph || c->m->unet.addition_time);
}
