// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/pair_set.h"

#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/graph/dry.h"
#include "pipelines/train/cache.h"

#include <stdio.h>
#include <string.h>

struct builder {
    struct at_model *m;
    const struct at_pair_set_params *p;
    struct at_pair_set *s;
    struct at_pairs pairs;
    const char *cache; // folder; NULL: none
    uint32_t *order; // pairs, the held-out ones last
};

const float *at_pair_moments(const struct at_pair_set *s, int64_t pair, int side, bool mirrored)
{
    return s->moments + ((size_t)pair * (size_t)s->sides + (size_t)side + (mirrored ? 2 : 0)) * 2 * s->latent;
}

static uint64_t hash(const char *text)
{
    uint64_t h = 1469598103934665603u; // FNV-1a
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 1099511628211u;
    return h;
}

// Whole prompts are held out, so that no picture of a held-out prompt is trained on.
static bool held_out(const struct builder *b, size_t i)
{
    return at_rng_uniform(b->p->seed, AT_STREAM_LABEL, hash(b->pairs.items[i].prompt)) < b->p->held_out;
}

static bool order_pairs(struct builder *b)
{
    size_t n = b->pairs.count, at = 0;
    if (!(b->order = at_calloc(n, sizeof(*b->order))))
        return at_fail_memory(b->m->log, n * sizeof(*b->order));
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < n; i++)
            if (held_out(b, i) == (pass == 1))
                b->order[at++] = (uint32_t)i;
        if (pass == 0)
            b->s->train = (int64_t)at;
    }
    if (!b->s->train)
        return at_fail(b->m->log, AT_ERROR_INPUT, "%s: no pair is left to train on; hold out fewer", b->p->path);
    return true;
}

static bool add_prompts(struct builder *b)
{
    struct at_pair_set *s = b->s;
    size_t n = b->pairs.count;
    bool ok = (s->prompt = at_calloc(n, sizeof(*s->prompt))) || at_fail_memory(b->m->log, n * sizeof(*s->prompt));
    for (size_t i = 0; ok && i < n; i++)
        ok = at_captions_add(b->p->captions, b->pairs.items[b->order[i]].prompt, &s->prompt[i]);
    return ok;
}

static void to_floats(const struct at_image *image, bool mirrored, float *out)
{
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width; x++)
            for (int c = 0; c < 3; c++) {
                int from = mirrored ? image->width - 1 - x : x;
                *out++ = (float)image->pixels[(y * image->width + from) * 3 + c] / 127.5f - 1;
            }
}

// As the pictures are cut by at_pair_load.
static bool note_sizes(struct builder *b)
{
    struct at_pair_set *s = b->s;
    int size = b->p->size;
    if (!(s->sizes = at_calloc((size_t)s->count, sizeof(*s->sizes))))
        return at_fail_memory(b->m->log, (size_t)s->count * sizeof(*s->sizes));
    for (int64_t i = 0; i < s->count; i++) {
        const struct at_pair *pair = &b->pairs.items[b->order[i]];
        s->sizes[i] = at_sizes_whole(size, size);
        if (pair->width && pair->height) {
            s->sizes[i].original_height = pair->height;
            s->sizes[i].original_width = pair->width;
            at_image_cover_at(pair->width, pair->height, size, size, &s->sizes[i].left, &s->sizes[i].top);
        }
    }
    return true;
}

// All variants of one pair, in the order of at_pair_moments.
static bool load_pair(struct builder *b, size_t i, float *images)
{
    const struct at_pair *pair = &b->pairs.items[b->order[i]];
    struct at_image side[2] = {{0}, {0}};
    bool ok = at_pair_load(b->m->log, pair, b->p->size, &side[0], &side[1]);
    bool swap = b->p->coin && at_rng_uniform(b->p->seed, AT_STREAM_LABEL, b->order[i]) < 0.5;
    size_t pixels = (size_t)b->p->size * (size_t)b->p->size * 3;
    for (int v = 0; ok && v < b->s->sides; v++)
        to_floats(&side[(v & 1) ^ (int)swap], v >= 2, images + (size_t)v * pixels);
    at_image_finish(&side[0]);
    at_image_finish(&side[1]);
    return ok;
}

static bool compute_moments(void *priv, const void *images, int n, float *moments)
{
    const struct builder *b = priv;
    return at_model_encode(b->m, images, n, b->p->size, b->p->size, moments);
}

static bool encode_pairs(struct builder *b)
{
    struct at_pair_set *s = b->s;
    size_t chunk = b->p->chunk > 0 ? (size_t)b->p->chunk : 8;
    size_t pixels = (size_t)b->p->size * (size_t)b->p->size * 3, sides = (size_t)s->sides;
    float *images = at_calloc(chunk * sides * pixels, sizeof(float));
    s->moments = at_calloc(((size_t)s->count + chunk) * sides * 2 * s->latent, sizeof(float));
    bool ok = images && s->moments;
    if (!ok)
        at_fail_memory(b->m->log, (size_t)s->count * sides * 2 * s->latent * sizeof(float));
    // What tiles make is kept apart from what whole pictures make.
    char what[32] = "moments";
    if (b->m->vae_tile && b->m->vae_tile < b->p->size)
        snprintf(what, sizeof(what), "moments-in-%d", b->m->vae_tile);
    struct at_cache *cache = at_cache_open(&b->m->vae_params, 1, what, b->cache);
    ok = ok && cache;
    bool dry = at_is_dry(b->m->dev); // then any pictures do
    size_t end = dry ? 1 : (size_t)s->count;
    for (size_t first = 0; ok && first < end; first += chunk) {
        size_t n = dry ? 0 : (size_t)s->count - first < chunk ? (size_t)s->count - first : chunk;
        ok = !b->p->train || at_train_goes_on(b->p->train, b->m->log);
        for (size_t i = 0; ok && i < n; i++)
            ok = load_pair(b, first + i, images + i * sides * pixels);
        struct at_cache_rows rows = {images, pixels * sizeof(float), (int)(chunk * sides),
                                     s->moments + first * sides * 2 * s->latent, 2 * s->latent, compute_moments, b};
        ok = ok && at_cache_rows(cache, &rows);
    }
    at_cache_close(&cache);
    at_free(images);
    return ok;
}

// A mask is read and checked, but no method weighs by it: said aloud, since the result is not what the row asks for.
static void warn_of_masks(const struct builder *b)
{
    size_t count = 0, line = 0;
    for (size_t i = b->pairs.count; i-- > 0;)
        if (b->pairs.items[i].mask) {
            count++;
            line = b->pairs.items[i].line;
        }
    if (count)
        at_warn(b->m->log, "%s: %zu pairs have a mask (the first in line %zu); masks are not used yet, so whole "
                "pictures are compared", b->p->path, count, line);
}

struct at_pair_set *at_pair_set_open(struct at_model *m, const struct at_pair_set_params *p)
{
    bool dry = at_is_dry(m->dev);
    struct builder b = {.m = m, .p = p, .cache = dry ? NULL : p->cache, .s = at_calloc(1, sizeof(*b.s))};
    if (!b.s) {
        at_fail_memory(m->log, sizeof(*b.s));
        return NULL;
    }
    int side = p->size / at_vae_factor(&m->vae);
    b.s->pixels = side * side;
    b.s->latent = (size_t)b.s->pixels * (size_t)m->vae.latent_channels;
    b.s->sides = p->flip ? 4 : 2;
    bool ok = at_pairs_read(m->log, p->path, &(struct at_pairs_params){.skip_images = dry}, &b.pairs);
    b.s->count = (int64_t)b.pairs.count;
    warn_of_masks(&b);
    ok = ok && order_pairs(&b) && note_sizes(&b) && add_prompts(&b) &&
         at_captions_encode(p->captions, p->cache) && encode_pairs(&b);
    if (ok && b.pairs.ties)
        at_info(m->log, "%s: %zu ties were left out", p->path, b.pairs.ties);
    at_pairs_finish(&b.pairs);
    at_free(b.order);
    if (!ok)
        at_pair_set_close(&b.s);
    return b.s;
}

void at_pair_set_close(struct at_pair_set **set)
{
    if (!*set)
        return;
    at_free((*set)->moments);
    at_free((*set)->prompt);
    at_free((*set)->sizes);
    at_free(*set);
    *set = NULL;
}
