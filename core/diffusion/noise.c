// SPDX-License-Identifier: Apache-2.0
#include "core/diffusion/noise.h"

#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/base/rng_torch.h"

const char *const at_rng_names[] = {"attune", "torch", NULL};

struct at_noise {
    enum at_rng_kind kind;
    size_t area, channels;
    uint64_t *seeds;
    struct at_rng_torch *generators;
    float *step, *planes; // a latent as (h,w,C), and as torch draws it: (C,h,w)
};

struct at_noise *at_noise_create(const struct at_noise_params *p, struct at_log *log)
{
    struct at_noise *n = at_calloc(1, sizeof(*n));
    size_t count = (size_t)p->pictures;
    if (n) {
        n->kind = p->kind;
        n->area = (size_t)p->height * (size_t)p->width;
        n->channels = (size_t)p->channels;
        n->seeds = at_calloc(count, sizeof(*n->seeds));
        n->step = at_calloc(n->area * n->channels, sizeof(*n->step));
        if (p->kind == AT_RNG_TORCH) {
            n->generators = at_calloc(count, sizeof(*n->generators));
            n->planes = at_calloc(n->area * n->channels, sizeof(*n->planes));
        }
    }
    if (!n || !n->seeds || !n->step || (p->kind == AT_RNG_TORCH && (!n->generators || !n->planes))) {
        at_fail_memory(log, count * sizeof(struct at_rng_torch));
        at_noise_destroy(&n);
    }
    return n;
}

void at_noise_destroy(struct at_noise **noise)
{
    struct at_noise *n = *noise;
    if (!n)
        return;
    at_free(n->seeds);
    at_free(n->generators);
    at_free(n->step);
    at_free(n->planes);
    at_free(n);
    *noise = NULL;
}

void at_noise_seed(struct at_noise *n, int picture, uint64_t seed)
{
    n->seeds[picture] = seed;
    if (n->kind == AT_RNG_TORCH)
        at_rng_torch_seed(&n->generators[picture], seed);
}

static void draw(struct at_noise *n, int picture, enum at_stream stream, uint64_t sample, float *out)
{
    if (n->kind == AT_RNG_ATTUNE) {
        at_rng_normal(out, n->area * n->channels, n->seeds[picture], stream, sample);
        return;
    }
    at_rng_torch_normal(&n->generators[picture], n->planes, n->area * n->channels);
    for (size_t p = 0; p < n->area; p++)
        for (size_t c = 0; c < n->channels; c++)
            out[p * n->channels + c] = n->planes[c * n->area + p];
}

void at_noise_initial(struct at_noise *n, int picture, float *out)
{
    draw(n, picture, AT_STREAM_LATENT, 0, out);
}

const float *at_noise_step(struct at_noise *n, int picture, int step)
{
    draw(n, picture, AT_STREAM_STEP, (uint64_t)step, n->step);
    return n->step;
}
