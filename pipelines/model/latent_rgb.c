// SPDX-License-Identifier: Apache-2.0
#include "pipelines/model/latent_rgb.h"

#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "pipelines/model/stages.h"

#include <math.h>
#include <string.h>

#define PICTURES 16
#define LATENTS 16 // a side: not more than the smallest tile
#define KNOTS 8    // random latents a side, between which they are bilinear
#define SIZE (AT_LATENT_RGB_CHANNELS + 1)

// A smooth field of latents (LATENTS,LATENTS,channels), by random knots (KNOTS,KNOTS,channels).
static void draw(const float *knots, int channels, float *z)
{
    for (int y = 0; y < LATENTS; y++)
        for (int x = 0; x < LATENTS; x++) {
            float v = (float)y * (KNOTS - 1) / LATENTS, u = (float)x * (KNOTS - 1) / LATENTS;
            int j = (int)v, i = (int)u;
            const float *at = knots + (j * KNOTS + i) * channels, *below = at + KNOTS * channels;
            v -= (float)j;
            u -= (float)i;
            for (int c = 0; c < channels; c++)
                z[(y * LATENTS + x) * channels + c] = (1 - v) * ((1 - u) * at[c] + u * at[channels + c]) +
                                                      v * ((1 - u) * below[c] + u * below[channels + c]);
        }
}

// PICTURES fields of deviation 1 together, as the denoiser's latents.
static bool draw_all(int channels, float *z)
{
    size_t knots = (size_t)(KNOTS * KNOTS * channels), n = (size_t)(LATENTS * LATENTS * channels);
    float *list = at_calloc(knots, sizeof(float));
    double squares = 0;
    for (int i = 0; list && i < PICTURES; i++) {
        at_rng_normal(list, knots, 1, AT_STREAM_MAKE, (uint64_t)i);
        draw(list, channels, z + (size_t)i * n);
    }
    for (size_t k = 0; k < PICTURES * n; k++)
        squares += (double)z[k] * z[k] / (double)(PICTURES * n);
    for (size_t k = 0; k < PICTURES * n; k++)
        z[k] /= (float)sqrt(squares);
    at_free(list);
    return list != NULL;
}

// The mean colour of the factor x factor pixels under a latent.
static void colour_of(const float *picture, int factor, int at, double colour[3])
{
    int y = at / LATENTS * factor, x = at % LATENTS * factor, side = LATENTS * factor;
    memset(colour, 0, 3 * sizeof(*colour));
    for (int i = 0; i < factor * factor; i++)
        for (int c = 0; c < 3; c++)
            colour[c] += fmin(1, fmax(-1, (double)picture[((y + i / factor) * side + x + i % factor) * 3 + c])) /
                         (factor * factor);
}

// The normal equations a m = b of n unknowns and three right sides, a symmetric: Gauss with pivots on the diagonal.
static void solve(double a[SIZE][SIZE], double b[SIZE][3], int n)
{
    for (int k = 0; k < n; k++) {
        a[k][k] += 1e-9;
        for (int r = 0; r < n; r++) {
            double f = r == k ? 0 : a[r][k] / a[k][k];
            for (int c = k; c < n; c++)
                a[r][c] -= f * a[k][c];
            for (int c = 0; c < 3; c++)
                b[r][c] -= f * b[k][c];
        }
    }
    for (int k = 0; k < n; k++)
        for (int c = 0; c < 3; c++)
            b[k][c] /= a[k][k];
}

struct equations {
    double a[SIZE][SIZE], b[SIZE][3];
    double squares; // of all colours
};

static void add(struct equations *e, const float *z, int channels, const double colour[3])
{
    double row[SIZE];
    for (int c = 0; c < channels; c++)
        row[c] = z[c];
    row[channels] = 1;
    for (int i = 0; i <= channels; i++) {
        for (int k = 0; k <= channels; k++)
            e->a[i][k] += row[i] * row[k];
        for (int c = 0; c < 3; c++)
            e->b[i][c] += row[i] * colour[c];
    }
    for (int c = 0; c < 3; c++)
        e->squares += colour[c] * colour[c];
}

// How much wider than the colours of the fit the true ones spread around their mean: a fit of least squares is pale where
// colours do not follow latents line by line. e: as added up; the fit: m (n,3). *mean: the mean colour.
static double contrast(const struct equations *e, double m[SIZE][3], int n, double mean[3])
{
    double count = e->a[n - 1][n - 1], fitted = 0, all = e->squares;
    for (int c = 0; c < 3; c++) {
        mean[c] = e->b[n - 1][c] / count;
        all -= mean[c] * mean[c] * count;
        fitted -= mean[c] * mean[c] * count;
        for (int i = 0; i < n; i++)
            fitted += m[i][c] * e->b[i][c]; // |fit|^2 = m . b, as the fit is a projection
    }
    return fitted > 1e-9 * all ? fmin(sqrt(all / fitted), 3) : 1;
}

bool at_latent_rgb_fit(struct at_model *m, struct at_latent_rgb *out)
{
    int channels = m->vae.latent_channels, factor = at_vae_factor(&m->vae), side = LATENTS * factor;
    if (channels > AT_LATENT_RGB_CHANNELS || m->vae.out_channels != 3)
        return at_fail(m->log, AT_ERROR_INPUT, "latents of %d channels, for pictures of %d, cannot be previewed; at most "
                       "%d, for pictures of 3", channels, m->vae.out_channels, AT_LATENT_RGB_CHANNELS);
    size_t pixels = (size_t)side * (size_t)side * 3, count = LATENTS * LATENTS;
    float *pictures = at_calloc(PICTURES * pixels, sizeof(float));
    float *z = at_calloc(PICTURES * count * (size_t)channels, sizeof(float));
    struct equations *e = at_calloc(1, sizeof(*e));
    bool ok = (pictures && z && e && draw_all(channels, z)) || at_fail_memory(m->log, PICTURES * pixels * sizeof(float));
    int tile = m->vae_tile;
    m->vae_tile = side; // one after the other
    ok = ok && at_model_decode(m, z, PICTURES, LATENTS, LATENTS, pictures);
    m->vae_tile = tile;
    at_model_stages_drop(m->stages, AT_PART_VAE);
    for (size_t i = 0; ok && i < PICTURES * count; i++) {
        double colour[3];
        colour_of(pictures + i / count * pixels, factor, (int)(i % count), colour);
        add(e, z + i * (size_t)channels, channels, colour);
    }
    if (ok) {
        struct equations sums = *e;
        double mean[3];
        solve(e->a, e->b, channels + 1);
        double wider = contrast(&sums, e->b, channels + 1, mean);
        *out = (struct at_latent_rgb){.channels = channels};
        for (int c = 0; c <= channels; c++)
            for (int k = 0; k < 3; k++)
                out->map[k][c] = (float)(c < channels ? wider * e->b[c][k] : mean[k] + wider * (e->b[c][k] - mean[k]));
    }
    at_free(pictures);
    at_free(z);
    at_free(e);
    return ok;
}

void at_latent_rgb_apply(const struct at_latent_rgb *rgb, const float *latents, int64_t pixels, float *colours)
{
    for (int64_t p = 0; p < pixels; p++)
        for (int k = 0; k < 3; k++) {
            float sum = rgb->map[k][rgb->channels];
            for (int c = 0; c < rgb->channels; c++)
                sum += rgb->map[k][c] * latents[p * rgb->channels + c];
            colours[p * 3 + k] = sum;
        }
}
