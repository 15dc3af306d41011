// SPDX-License-Identifier: Apache-2.0
// Resampling a drawing into a picture: separable Lanczos-2 on premultiplied values, its support widened by the ratio of
// the sizes, so that every source pixel counts when a drawing shrinks.
#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "datasets/emoji.h"

#include <math.h>

#define LOBES 2.0

const struct at_emoji_view at_emoji_truth = {.scale = 0.94, .saturation = 1, .background = {1, 1, 1}};

// The source pixels that make one pixel of the picture.
struct taps {
    int first, count;
    const float *weights;
};

static double lanczos(double x)
{
    if (fabs(x) < 1e-9)
        return 1;
    if (fabs(x) >= LOBES)
        return 0;
    double p = 3.14159265358979324 * x;
    return LOBES * sin(p) * sin(p / LOBES) / (p * p);
}

// Source pixels per picture pixel is `ratio`; the drawing begins at `origin` pixels of the picture. Weights sum to 1
// over the unbounded line: what lies outside the drawing is transparent.
static void make_taps(struct taps *taps, float *weights, int size, double origin, double ratio, int length)
{
    double stretch = ratio > 1 ? ratio : 1, radius = LOBES * stretch;
    for (int i = 0; i < size; i++) {
        double centre = (i + 0.5 - origin) * ratio - 0.5, sum = 0;
        int first = (int)ceil(centre - radius), last = (int)floor(centre + radius);
        struct taps *t = &taps[i];
        t->first = first < 0 ? 0 : first < length ? first : length - 1;
        t->count = 0;
        t->weights = weights;
        for (int k = first; k <= last; k++) {
            double w = lanczos((k - centre) / stretch);
            sum += w;
            if (k >= 0 && k < length)
                weights[t->count++] = (float)w;
        }
        for (int k = 0; k < t->count; k++)
            weights[k] /= (float)sum;
        weights += t->count;
    }
}

// Sum of weights[k] * from[k * stride .. +3].
static inline void gather(float out[4], const float *from, size_t stride, const struct taps *t)
{
    float sum[4] = {0, 0, 0, 0};
    for (int k = 0; k < t->count; k++)
        for (int c = 0; c < 4; c++)
            sum[c] += t->weights[k] * from[(size_t)k * stride + (size_t)c];
    for (int c = 0; c < 4; c++)
        out[c] = sum[c];
}

static float clamp(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

// Colour over background. Saturation moves each channel from the pixel's luma (ITU-R BT.601 weights).
static void put_pixel(float rgb[3], const float rgba[4], const struct at_emoji_view *view)
{
    float alpha = clamp(rgba[3], 0, 1), luma = 0.299f * rgba[0] + 0.587f * rgba[1] + 0.114f * rgba[2];
    for (int c = 0; c < 3; c++) {
        float tinted = luma + (float)view->saturation * (rgba[c] - luma);
        rgb[c] = clamp(clamp(tinted, 0, alpha) + (1 - alpha) * view->background[c], 0, 1);
    }
}

bool at_emoji_draw(struct at_log *log, const struct at_emoji *item, const struct at_emoji_view *view, int size,
                   float *rgb)
{
    const struct at_emoji_glyph *g = &item->glyph;
    if (size < 1 || size > 4096 || !g->rgba || !(view->scale > 0.01) || !(view->scale < 16))
        return at_fail(log, AT_ERROR_FAILED, "emoji \"%s\": cannot be drawn at %d pixels, scale %g", item->name, size,
                       view->scale);
    size_t n = (size_t)size, width = (size_t)g->width, height = (size_t)g->height;
    double longest = g->width > g->height ? g->width : g->height, ratio = longest / (view->scale * size);
    size_t room = (size_t)(2 * LOBES * (ratio > 1 ? ratio : 1)) + 2; // weights of one pixel
    float *memory = at_calloc_aligned(height * n * 4 + 2 * n * room, sizeof(float));
    struct taps *across = at_calloc(2 * n, sizeof(*across)), *down = across ? across + n : NULL;
    if (!memory || !across) {
        at_free(memory);
        at_free(across);
        return at_fail_memory(log, (height * n * 4 + 2 * n * room) * sizeof(float));
    }
    float *weights = memory + height * n * 4;
    make_taps(across, weights, size, (0.5 + view->dx) * size - g->width / ratio / 2, ratio, g->width);
    make_taps(down, weights + n * room, size, (0.5 + view->dy) * size - g->height / ratio / 2, ratio, g->height);
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < n; x++)
            gather(memory + 4 * (y * n + x), g->rgba + 4 * (y * width + (size_t)across[x].first), 4, &across[x]);
    for (size_t y = 0; y < n; y++)
        for (size_t x = 0; x < n; x++) {
            float rgba[4];
            gather(rgba, memory + 4 * ((size_t)down[y].first * n + x), 4 * n, &down[y]);
            put_pixel(rgb + 3 * (y * n + x), rgba, view);
        }
    at_free(memory);
    at_free(across);
    return true;
}

static double unit(uint32_t r)
{
    return (r + 0.5) / 4294967296.0;
}

struct at_emoji_view at_emoji_view(uint64_t seed, uint64_t index)
{
    uint32_t r[2][4]; // eight draws
    at_philox(seed, AT_STREAM_MAKE, 2 * index, r[0]);
    at_philox(seed, AT_STREAM_MAKE, 2 * index + 1, r[1]);
    struct at_emoji_view v = {.scale = 0.8 + 0.2 * unit(r[0][0]), .background = {1, 1, 1}};
    double slack = (1 - v.scale) / 2; // how far it may move and still be whole
    slack = slack < 1.0 / 32 ? slack : 1.0 / 32;
    v.dx = slack * (2 * unit(r[0][1]) - 1);
    v.dy = slack * (2 * unit(r[0][2]) - 1);
    double u = 2 * unit(r[0][3]) - 1;
    v.saturation = u < 0 ? 0.55 + 0.3 * u : 1 + 0.4 * u;
    if (unit(r[1][0]) < 0.25) { // a tint: each channel between .86 and 1, the brightest exactly 1
        double channel[3], top = 0;
        for (int c = 0; c < 3; c++) {
            channel[c] = 0.86 + 0.14 * unit(r[1][1 + c]);
            top = channel[c] > top ? channel[c] : top;
        }
        for (int c = 0; c < 3; c++)
            v.background[c] = (float)(channel[c] + 1 - top);
    }
    return v;
}

const struct at_emoji *at_emoji_sample(struct at_log *log, const struct at_emoji_set *set, int size, uint64_t seed,
                                       uint64_t index, float *rgb, struct at_emoji_view *view)
{
    const struct at_emoji *item = &set->items[index % set->count];
    struct at_emoji_view v = at_emoji_view(seed, index);
    if (view)
        *view = v;
    return at_emoji_draw(log, item, &v, size, rgb) ? item : NULL;
}
