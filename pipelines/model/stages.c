// SPDX-License-Identifier: Apache-2.0
#include "pipelines/model/stages.h"

#include "core/base/alloc.h"
#include "pipelines/model/spread.h"
#include "pipelines/model/text.h"
#include "pipelines/model/tiles.h"

// A graph compiled for one size and number of items; another one compiles anew, so that what comes out depends on what
// goes in alone, not on what was computed before: sums of another batch round differently.
struct stage {
    struct at_spread *spread;
    int items, height, width; // of a text: clip skip in place of a height
};

struct at_model_stages {
    struct stage text, encode, decode;
};

struct at_model_stages *at_model_stages_create(struct at_log *log)
{
    struct at_model_stages *s = at_calloc(1, sizeof(*s));
    if (!s)
        at_fail_memory(log, sizeof(*s));
    return s;
}

void at_model_stages_drop(struct at_model_stages *s, unsigned parts)
{
    if (parts & AT_PART_TEXT)
        at_spread_destroy(&s->text.spread);
    if (parts & AT_PART_VAE) {
        at_spread_destroy(&s->encode.spread);
        at_spread_destroy(&s->decode.spread);
    }
}

void at_model_stages_destroy(struct at_model_stages **stages)
{
    if (!*stages)
        return;
    at_model_stages_drop(*stages, AT_PART_TEXT | AT_PART_VAE);
    at_free(*stages);
    *stages = NULL;
}

struct size {
    const struct at_model *m;
    int height, width;
};

// One row a prompt.
static bool build_text(const void *priv, struct at_graph *g, int worker, int batch, struct at_ports *ports)
{
    (void)worker;
    const struct size *s = priv;
    struct at_builder like = {.g = g};
    struct at_node *pooled;
    at_text_inputs(s->m, g, batch, ports->in);
    struct at_node *hidden = at_text_graph(s->m, &like, &(struct at_text_params){s->height}, ports->in, &pooled);
    if (!hidden)
        return false;
    int64_t floats = at_shape_count(hidden->shape) / batch;
    ports->out[0] = pooled ? at_concat(g, at_view(g, hidden, 0, AT_SHAPE(batch, floats)), pooled) : hidden;
    return at_graph_ok(g);
}

static bool build_encode(const void *priv, struct at_graph *g, int worker, int batch, struct at_ports *ports)
{
    (void)worker;
    const struct size *s = priv;
    struct at_builder b = {.g = g, .params = s->m->vae_params};
    ports->in[0] = at_graph_input(g, "image", AT_SHAPE(batch, s->height, s->width, s->m->vae.in_channels), AT_F32);
    ports->out[0] = at_vae_encode(&b, &s->m->vae, ports->in[0]);
    return at_graph_ok(g);
}

static bool build_decode(const void *priv, struct at_graph *g, int worker, int batch, struct at_ports *ports)
{
    (void)worker;
    const struct size *s = priv;
    struct at_builder b = {.g = g, .params = s->m->vae_params};
    ports->in[0] = at_graph_input(g, "z", AT_SHAPE(batch, s->height, s->width, s->m->vae.latent_channels), AT_F32);
    struct at_node *z = at_scale(g, ports->in[0], 1 / s->m->vae.scaling_factor, s->m->vae.shift_factor);
    ports->out[0] = at_vae_decode(&b, &s->m->vae, z);
    return at_graph_ok(g);
}

// Few items at once: the autoencoder's activations are the largest of all.
static bool prepare(struct at_model *m, struct stage *stage, int n, int height, int width,
                    bool (*build)(const void *, struct at_graph *, int, int, struct at_ports *), int max_batch)
{
    if (stage->spread && stage->items == n && stage->height == height && stage->width == width)
        return true;
    at_spread_destroy(&stage->spread);
    if (!at_model_wake(m, stage == &m->stages->text ? AT_PART_TEXT : AT_PART_VAE))
        return false;
    struct size s = {m, height, width};
    struct at_spread_params p = {.dev = m->dev, .items = n, .max_batch = max_batch, .build = build, .priv = &s};
    *stage = (struct stage){at_spread_create(&p, m->log), n, height, width};
    return stage->spread;
}

void at_text_adapt(struct at_model *m, int encoder, const struct at_adapter *adapters, int count)
{
    struct at_text_encoder *e = &m->text[encoder];
    if (count != e->adapter_count || count)
        at_model_stages_drop(m->stages, AT_PART_TEXT);
    for (int i = 0; i < count; i++)
        e->adapters[i] = adapters[i];
    e->adapter_count = count;
}

bool at_text_encode(struct at_model *m, const int32_t *ids, int n, const struct at_text_params *params, float *rows)
{
    const void *in[AT_TEXT_PORTS];
    if (params && !at_text_check(m, params))
        return false;
    size_t count = (size_t)n * (size_t)at_text_ids(m);
    int32_t *store = at_calloc(count, sizeof(*store));
    bool ok = (store || at_fail_memory(m->log, count * sizeof(*store))) &&
              prepare(m, &m->stages->text, n, params ? params->clip_skip : 0, 0, build_text, 16);
    if (ok) {
        at_text_split(m, ids, n, store, in);
        ok = at_spread_run(m->stages->text.spread, n, in, (void *[]){rows});
    }
    at_free(store);
    return ok;
}

// Images a graph of the autoencoder takes: about half a million pixels.
static int vae_batch(int height, int width)
{
    int64_t n = 512 * 1024 / ((int64_t)height * width);
    return n < 1 ? 1 : n > 16 ? 16 : (int)n;
}

// With tiles: one graph that takes one item, the least memory that there is.
static bool encode(void *priv, const float *images, int n, int height, int width, float *moments)
{
    struct at_model *m = priv;
    int items = m->vae_tile ? 1 : n;
    return prepare(m, &m->stages->encode, items, height, width, build_encode, vae_batch(height, width)) &&
           at_spread_run(m->stages->encode.spread, n, (const void *[]){images}, (void *[]){moments});
}

static bool decode(void *priv, const float *latents, int n, int h, int w, float *images)
{
    struct at_model *m = priv;
    int factor = at_vae_factor(&m->vae), items = m->vae_tile ? 1 : n;
    return prepare(m, &m->stages->decode, items, h, w, build_decode, vae_batch(h * factor, w * factor)) &&
           at_spread_run(m->stages->decode.spread, n, (const void *[]){latents}, (void *[]){images});
}

bool at_model_encode(struct at_model *m, const float *images, int n, int height, int width, float *moments)
{
    int tile = m->vae_tile;
    struct at_tiling t = {.height = height, .width = width, .in_channels = m->vae.in_channels,
                          .out_channels = 2 * m->vae.latent_channels, .tile = tile, .overlap = tile / 4, .up = 1,
                          .down = at_vae_factor(&m->vae)};
    if (tile == 0 || (height <= tile && width <= tile))
        return encode(m, images, n, height, width, moments);
    return at_tiles_run(&t, images, n, moments, encode, m, m->log);
}

bool at_model_decode(struct at_model *m, const float *latents, int n, int h, int w, float *images)
{
    int factor = at_vae_factor(&m->vae), tile = m->vae_tile / factor;
    struct at_tiling t = {.height = h, .width = w, .in_channels = m->vae.latent_channels,
                          .out_channels = m->vae.out_channels, .tile = tile, .overlap = tile / 4, .up = factor,
                          .down = 1};
    if (tile == 0 || (h <= tile && w <= tile))
        return decode(m, latents, n, h, w, images);
    return at_tiles_run(&t, latents, n, images, decode, m, m->log);
}

double at_model_decode_flops(const struct at_model *m)
{
    return m->stages->decode.spread ? at_spread_flops(m->stages->decode.spread) : 0;
}
