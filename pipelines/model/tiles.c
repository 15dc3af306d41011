// SPDX-License-Identifier: Apache-2.0
// What the tiles are and how they meet: diffusers src/diffusers/models/autoencoders/autoencoder_kl.py, tiled_decode.
#include "pipelines/model/tiles.h"

#include "core/base/alloc.h"

#include <string.h>

#define QUARTERS 4 // of a tile; one of them overlaps
// Of tiles that are chosen, in latents.
#define FIRST_LATENTS 64
#define LEAST_LATENTS 16

bool at_tile_check(const struct at_vae_config *vae, int setting, struct at_log *log)
{
    int unit = QUARTERS * at_vae_factor(vae);
    return (setting <= 0 && setting >= AT_TILE_NONE) || (setting > 0 && setting % unit == 0) ||
           at_fail(log, AT_ERROR_USAGE, "tiles of %d pixels: must be a multiple of %d, four latents of this model",
                   setting, unit);
}

int at_tile_side(const struct at_vae_config *vae, int height, int width, int setting, int level)
{
    if (setting != AT_TILE_AUTO)
        return setting < 0 ? 0 : setting;
    int unit = QUARTERS * at_vae_factor(vae), least = LEAST_LATENTS / QUARTERS * unit;
    int large = height > width ? height : width, tile = (large + unit - 1) / unit * unit;
    if (level == 0)
        return 0;
    int first = FIRST_LATENTS / QUARTERS * unit, next = vae->sample_size / unit * unit;
    next = next > first ? next : first;
    for (int i = 1; i < level && tile > least; i++) {
        while (next >= large)
            next = next / 2 / unit * unit;
        if (next < least)
            break;
        tile = next;
        next = next / 2 / unit * unit;
    }
    return tile;
}

// One side of a picture cut into tiles: tile i is [i step, i step + size(i)).
struct cut {
    int length, tile, step, count;
};

static struct cut cut_of(int length, int tile, int overlap)
{
    int step = tile - overlap;
    return (struct cut){length, tile, step, (length + step - 1) / step};
}

static int size_of(const struct cut *c, int i)
{
    int left = c->length - i * c->step;
    return left < c->tile ? left : c->tile;
}

struct work {
    const struct at_tiling *t;
    struct cut rows, columns;
    float **out; // what came of each tile (item, row, column), within one of `made`
    float **made;
    int made_count;
};

static int scaled(const struct at_tiling *t, int n)
{
    return n * t->up / t->down;
}

static void copy_in(const struct work *w, const float *in, int r, int c, float *tile)
{
    const struct at_tiling *t = w->t;
    int h = size_of(&w->rows, r), wide = size_of(&w->columns, c);
    size_t row = (size_t)wide * (size_t)t->in_channels;
    for (int y = 0; y < h; y++)
        memcpy(tile + (size_t)y * row,
               in + ((size_t)(r * w->rows.step + y) * (size_t)t->width + (size_t)(c * w->columns.step)) *
                        (size_t)t->in_channels,
               row * sizeof(float));
}

struct runner {
    bool (*run)(void *priv, const float *in, int n, int height, int width, float *out);
    void *priv;
    struct at_log *log;
};

// Runs all tiles that are as large as tile (r0,c0).
static bool run_size(struct work *w, const float *in, int n, int r0, int c0, const struct runner *how)
{
    const struct at_tiling *t = w->t;
    int h = size_of(&w->rows, r0), wide = size_of(&w->columns, c0), tiles = w->rows.count * w->columns.count, count = 0;
    size_t in_size = (size_t)h * (size_t)wide * (size_t)t->in_channels;
    size_t out_size = (size_t)scaled(t, h) * (size_t)scaled(t, wide) * (size_t)t->out_channels;
    for (int k = 0; k < tiles; k++)
        count += size_of(&w->rows, k / w->columns.count) == h && size_of(&w->columns, k % w->columns.count) == wide;
    float *from = at_calloc((size_t)count * (size_t)n * in_size, sizeof(float));
    float *to = w->made[w->made_count++] = at_calloc((size_t)count * (size_t)n * out_size, sizeof(float));
    bool ok = (from && to) || at_fail_memory(how->log, (size_t)count * (size_t)n * (in_size + out_size) * sizeof(float));
    int at = 0;
    for (int i = 0; ok && i < n; i++)
        for (int k = 0; k < tiles; k++) {
            int r = k / w->columns.count, c = k % w->columns.count;
            if (size_of(&w->rows, r) != h || size_of(&w->columns, c) != wide)
                continue;
            copy_in(w, in + (size_t)i * (size_t)t->height * (size_t)t->width * (size_t)t->in_channels, r, c,
                    from + (size_t)at * in_size);
            w->out[i * tiles + k] = to + (size_t)at++ * out_size;
        }
    ok = ok && how->run(how->priv, from, at, h, wide, to);
    at_free(from);
    return ok;
}

// The first `fade` rows of b come gradually from the last ones of a: both have `width` columns.
static void blend_rows(const float *a, int a_rows, float *b, int b_rows, size_t row, int fade)
{
    fade = fade < b_rows ? fade : b_rows;
    fade = fade < a_rows ? fade : a_rows;
    for (int y = 0; y < fade; y++) {
        const float *from = a + (size_t)(a_rows - fade + y) * row;
        float share = (float)y / (float)fade;
        for (size_t i = 0; i < row; i++)
            b[(size_t)y * row + i] = (1 - share) * from[i] + share * b[(size_t)y * row + i];
    }
}

static void blend_columns(const float *a, int a_width, float *b, int b_width, int rows, int channels, int fade)
{
    fade = fade < b_width ? fade : b_width;
    fade = fade < a_width ? fade : a_width;
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < fade; x++) {
            const float *from = a + (size_t)(y * a_width + a_width - fade + x) * (size_t)channels;
            float *to = b + (size_t)(y * b_width + x) * (size_t)channels, share = (float)x / (float)fade;
            for (int c = 0; c < channels; c++)
                to[c] = (1 - share) * from[c] + share * to[c];
        }
}

// Tile by tile into one picture: each fades in from the one above, then from the one at its left, both as they became.
static void join(const struct work *w, float *const *tiles, float *out)
{
    const struct at_tiling *t = w->t;
    int fade = scaled(t, t->overlap), keep = scaled(t, w->rows.step), width = scaled(t, t->width);
    size_t channels = (size_t)t->out_channels;
    for (int r = 0; r < w->rows.count; r++)
        for (int c = 0; c < w->columns.count; c++) {
            float *tile = tiles[r * w->columns.count + c];
            int h = scaled(t, size_of(&w->rows, r)), wide = scaled(t, size_of(&w->columns, c));
            if (r > 0)
                blend_rows(tiles[(r - 1) * w->columns.count + c], scaled(t, size_of(&w->rows, r - 1)), tile, h,
                           (size_t)wide * channels, fade);
            if (c > 0)
                blend_columns(tiles[r * w->columns.count + c - 1], scaled(t, size_of(&w->columns, c - 1)), tile, wide,
                              h, t->out_channels, fade);
        }
    for (int r = 0; r < w->rows.count; r++)
        for (int c = 0; c < w->columns.count; c++) {
            int h = scaled(t, size_of(&w->rows, r)), wide = scaled(t, size_of(&w->columns, c));
            for (int y = 0; y < h && y < keep; y++)
                memcpy(out + ((size_t)(r * keep + y) * (size_t)width + (size_t)(c * keep)) * channels,
                       tiles[r * w->columns.count + c] + (size_t)y * (size_t)wide * channels,
                       (size_t)(wide < keep ? wide : keep) * channels * sizeof(float));
        }
}

bool at_tiles_run(const struct at_tiling *t, const float *in, int n, float *out,
                  bool (*run)(void *priv, const float *in, int n, int height, int width, float *out), void *priv,
                  struct at_log *log)
{
    struct work w = {.t = t, .rows = cut_of(t->height, t->tile, t->overlap),
                     .columns = cut_of(t->width, t->tile, t->overlap)};
    struct runner how = {run, priv, log};
    int tiles = w.rows.count * w.columns.count;
    w.out = at_calloc((size_t)tiles * (size_t)n, sizeof(*w.out));
    w.made = at_calloc((size_t)tiles, sizeof(*w.made));
    bool ok = (w.out && w.made) || at_fail_memory(log, (size_t)tiles * (size_t)n * sizeof(*w.out));
    for (int k = 0; ok && k < tiles; k++)
        if (!w.out[k]) // no tile of this size has run
            ok = run_size(&w, in, n, k / w.columns.count, k % w.columns.count, &how);
    size_t picture = (size_t)scaled(t, t->height) * (size_t)scaled(t, t->width) * (size_t)t->out_channels;
    for (int i = 0; ok && i < n; i++)
        join(&w, w.out + (size_t)i * (size_t)tiles, out + (size_t)i * picture);
    for (int i = 0; w.made && i < w.made_count; i++)
        at_free(w.made[i]);
    at_free(w.made);
    at_free(w.out);
    return ok;
}
