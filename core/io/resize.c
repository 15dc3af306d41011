// SPDX-License-Identifier: Apache-2.0
// Separable resampling with a triangle filter whose half-width is max(1, source size / target size) source pixels:
// plain bilinear when enlarging, an antialiased average when shrinking.
#include "core/io/image.h"

#include "core/base/alloc.h"

#include <math.h>
#include <string.h>

// The weights along one axis: target pixel i takes `taps` source pixels from first[i] on.
struct axis {
    int taps;
    int *first;
    float *weight; // (targets, taps), each row sums to 1
};

static void axis_finish(struct axis *a)
{
    at_free(a->first);
    at_free(a->weight);
}

static bool axis_init(struct axis *a, int source, int target)
{
    double scale = (double)source / target, reach = scale > 1 ? scale : 1;
    a->taps = (int)ceil(reach) * 2 + 1;
    a->taps = a->taps < source ? a->taps : source;
    a->first = at_calloc((size_t)target, sizeof(*a->first));
    a->weight = at_calloc((size_t)target * (size_t)a->taps, sizeof(*a->weight));
    if (!a->first || !a->weight)
        return false;
    for (int i = 0; i < target; i++) {
        double centre = (i + 0.5) * scale, sum = 0;
        int first = (int)floor(centre - reach + 0.5);
        first = first < 0 ? 0 : first > source - a->taps ? source - a->taps : first;
        float *w = a->weight + (size_t)i * (size_t)a->taps;
        for (int j = 0; j < a->taps; j++) {
            double far = fabs(first + j + 0.5 - centre) / reach;
            w[j] = far < 1 ? (float)(1 - far) : 0;
            sum += w[j];
        }
        for (int j = 0; j < a->taps; j++)
            w[j] = (float)(w[j] / sum);
        a->first[i] = first;
    }
    return true;
}

// One source row as floats, colours multiplied by alpha if there is one, shrunk or stretched to `width`.
static void resize_row(const struct at_image *source, int y, const struct axis *axis, int width, float *line,
                       float *out)
{
    int c = source->channels;
    const uint8_t *p = source->pixels + (size_t)y * (size_t)source->width * (size_t)c;
    for (int x = 0; x < source->width; x++, p += c)
        for (int k = 0; k < c; k++)
            line[x * c + k] = c == 4 && k < 3 ? (float)p[k] * (float)p[3] / 255.0f : (float)p[k];
    for (int x = 0; x < width; x++) {
        const float *w = axis->weight + (size_t)x * (size_t)axis->taps, *from = line + axis->first[x] * c;
        for (int k = 0; k < c; k++) {
            float sum = 0;
            for (int j = 0; j < axis->taps; j++)
                sum += w[j] * from[j * c + k];
            out[x * c + k] = sum;
        }
    }
}

static uint8_t to_byte(float x)
{
    return x <= 0 ? 0 : x >= 255 ? 255 : (uint8_t)(x + 0.5f);
}

static void store_row(const float *sum, int width, int c, uint8_t *out)
{
    for (int x = 0; x < width; x++, sum += c, out += c) {
        float alpha = c == 4 ? sum[3] : 255.0f;
        for (int k = 0; k < c; k++)
            out[k] = c == 4 && k < 3 ? to_byte(alpha > 0 ? sum[k] * 255.0f / alpha : 0) : to_byte(sum[k]);
    }
}

bool at_image_resize(struct at_log *log, const struct at_image *source, int width, int height, struct at_image *out)
{
    struct axis across = {0}, down = {0};
    size_t row = (size_t)(width > 0 ? width : 0) * (size_t)source->channels;
    float *line = NULL, *ring = NULL, *sum = NULL;
    *out = (struct at_image){0};
    if (width > AT_IMAGE_MAX_SIDE || height > AT_IMAGE_MAX_SIDE)
        return at_fail(log, AT_ERROR_FAILED, "cannot resize to %d x %d: a side has at most %d pixels", width, height,
                       AT_IMAGE_MAX_SIDE);
    if (!at_image_init(log, out, width, height, source->channels))
        return false;
    bool ok = axis_init(&across, source->width, width) && axis_init(&down, source->height, height);
    if (ok) {
        line = at_calloc((size_t)source->width * (size_t)source->channels, sizeof(*line));
        ring = at_calloc(row * (size_t)down.taps, sizeof(*ring)); // the last `taps` rows, already resized across
        sum = at_calloc(row, sizeof(*sum));
        ok = line && ring && sum;
    }
    for (int y = 0, have = 0; ok && y < height; y++) {
        int first = down.first[y];
        for (have = have > first ? have : first; have < first + down.taps; have++)
            resize_row(source, have, &across, width, line, ring + row * (size_t)(have % down.taps));
        memset(sum, 0, row * sizeof(*sum));
        for (int j = 0; j < down.taps; j++) {
            const float *from = ring + row * (size_t)((first + j) % down.taps);
            float w = down.weight[(size_t)y * (size_t)down.taps + (size_t)j];
            for (size_t i = 0; i < row; i++)
                sum[i] += w * from[i];
        }
        store_row(sum, width, source->channels, out->pixels + (size_t)y * row);
    }
    axis_finish(&across);
    axis_finish(&down);
    at_free(line);
    at_free(ring);
    at_free(sum);
    if (!ok)
        at_image_finish(out);
    return ok || at_fail_memory(log, row * (size_t)height);
}

// The size after scaling.
static void cover_size(int source_width, int source_height, int width, int height, int *w, int *h)
{
    double x = (double)width / source_width, y = (double)height / source_height, scale = x > y ? x : y;
    *w = x >= y ? width : (int)(source_width * scale + 0.5);
    *h = y >= x ? height : (int)(source_height * scale + 0.5);
    *w = *w < width ? width : *w;
    *h = *h < height ? height : *h;
}

void at_image_cover_at(int source_width, int source_height, int width, int height, int *left, int *top)
{
    int w, h;
    cover_size(source_width, source_height, width, height, &w, &h);
    *left = (w - width) / 2;
    *top = (h - height) / 2;
}

bool at_image_cover(struct at_log *log, const struct at_image *source, int width, int height, struct at_image *out)
{
    struct at_image scaled;
    int w, h;
    *out = (struct at_image){0};
    if (width < 1 || height < 1 || source->width < 1 || source->height < 1)
        return at_fail(log, AT_ERROR_FAILED, "cannot fit an image into %d x %d", width, height);
    cover_size(source->width, source->height, width, height, &w, &h);
    if (!at_image_resize(log, source, w, h, &scaled))
        return false;
    bool ok = at_image_crop(log, &scaled, (w - width) / 2, (h - height) / 2, width, height, out);
    at_image_finish(&scaled);
    return ok;
}
