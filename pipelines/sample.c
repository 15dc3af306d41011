// SPDX-License-Identifier: Apache-2.0
#include "pipelines/sample.h"

#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/diffusion/ddim.h"
#include "pipelines/denoiser.h"

#include <math.h>
#include <string.h>

#define MAX_STEPS 1000
#define MAX_ADAPTERS 16

// Buffers of one batch of images. With guidance the first half of x, t, text and y is the negative prompt's.
struct batch {
    struct at_model *m;
    const struct at_sample_params *p;
    struct at_denoiser *denoiser;
    int size, copies;        // images, and denoiser samples an image
    int h, w;                // of the latents
    size_t latent, text_row; // floats a sample
    float *x, *t, *text, *y, *noise;
    int timesteps[MAX_STEPS];
    int done, total; // denoiser runs, for progress
};

bool at_sample_size(const struct at_model *m, const struct at_sample_params *p, int *width, int *height)
{
    int factor = at_vae_factor(&m->vae), side = m->unet.sample_size ? m->unet.sample_size * factor : 512;
    *width = p->width ? p->width : side;
    *height = p->height ? p->height : side;
    if (*width < factor || *height < factor || *width % factor || *height % factor)
        return at_fail(m->log, AT_ERROR_USAGE, "%dx%d: width and height must be multiples of %d", *width, *height,
                       factor);
    return true;
}

bool at_sample_image(struct at_log *log, const float *pixels, int width, int height, struct at_image *out)
{
    if (!at_image_init(log, out, width, height, 3))
        return false;
    for (size_t i = 0; i < (size_t)width * (size_t)height * 3; i++) {
        float v = pixels[i] * 255 + 0.5f;
        out->pixels[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
    return true;
}

// Texts of images [first, first + count) into b->text.
static bool embed(struct batch *b, int first, int count)
{
    const char **prompts = at_calloc((size_t)(b->copies * b->size), sizeof(*prompts));
    if (!prompts)
        return at_fail_memory(b->m->log, sizeof(*prompts));
    for (int i = 0; i < b->size; i++) {
        const struct at_sample_item *item = &b->p->items[first + (i < count ? i : 0)];
        if (b->copies == 2)
            prompts[i] = item->negative ? item->negative : "";
        prompts[(b->copies - 1) * b->size + i] = item->prompt;
    }
    bool ok = at_model_embed(b->m, prompts, b->copies * b->size, b->text);
    at_free(prompts);
    return ok;
}

// y of the guided prediction into the first `size` samples of b->y.
static bool predict(struct batch *b, int timestep)
{
    size_t half = (size_t)b->size * b->latent;
    if (b->copies == 2)
        memcpy(b->x + half, b->x, half * sizeof(float));
    for (int i = 0; i < b->copies * b->size; i++)
        b->t[i] = (float)timestep;
    if (!at_denoiser_run(b->denoiser, b->x, b->t, b->text, b->y))
        return false;
    float cfg = (float)b->p->cfg;
    for (size_t i = 0; b->copies == 2 && i < half; i++)
        b->y[i] += cfg * (b->y[half + i] - b->y[i]);
    return true;
}

static bool run_steps(struct batch *b, int first, int steps)
{
    for (int s = 0; s < steps; s++) {
        struct at_ddim d;
        struct at_ddim_params step = {.t = b->timesteps[s], .steps = steps, .eta = b->p->eta};
        if (!predict(b, b->timesteps[s]) || !at_ddim_step(b->m->schedule, &step, &d, b->m->log))
            return false;
        for (int i = 0; i < b->size; i++) {
            int item = first + i < b->p->count ? first + i : first;
            if (d.sigma > 0)
                at_rng_normal(b->noise, b->latent, b->p->items[item].seed, AT_STREAM_STEP, (uint64_t)s);
            float *x = b->x + (size_t)i * b->latent;
            at_ddim_apply(&d, x, b->y + (size_t)i * b->latent, b->noise, NULL, b->latent);
        }
        b->done++;
        if (b->p->progress && !b->p->progress(b->p->priv, (double)b->done / b->total))
            return at_fail(b->m->log, AT_ERROR_INTERRUPTED, "sampling was interrupted");
    }
    return true;
}

// From -1 .. 1 to 0 .. 1, in place. False if a value is not finite.
static bool to_unit(float *pixels, size_t n)
{
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        float v = pixels[i] * 0.5f + 0.5f;
        finite = finite && isfinite(v);
        pixels[i] = v < 0 ? 0 : v > 1 ? 1 : v;
    }
    return finite;
}

// Images [first, first + count) to `out` (pixels) and `latents`.
static bool run_batch(struct batch *b, int first, int steps, float *out, float *latents)
{
    int count = b->p->count - first < b->size ? b->p->count - first : b->size;
    if (!embed(b, first, count))
        return false;
    for (int i = 0; i < b->size; i++) {
        int item = first + (i < count ? i : 0);
        float *x = b->x + (size_t)i * b->latent;
        if (b->p->init)
            memcpy(x, b->p->init + (size_t)item * b->latent, b->latent * sizeof(float));
        else
            at_rng_normal(x, b->latent, b->p->items[item].seed, AT_STREAM_LATENT, 0);
    }
    if (!run_steps(b, first, steps))
        return false;
    if (latents)
        memcpy(latents + (size_t)first * b->latent, b->x, (size_t)count * b->latent * sizeof(float));
    int factor = at_vae_factor(&b->m->vae);
    size_t pixels = (size_t)(b->h * factor) * (size_t)(b->w * factor) * 3;
    float *to = out + (size_t)first * pixels;
    if (!at_model_decode(b->m, b->x, count, b->h, b->w, to))
        return false;
    for (int i = 0; i < count; i++)
        if (!to_unit(to + (size_t)i * pixels, pixels))
            return at_fail(b->m->log, AT_ERROR_FAILED, "the picture of \"%.60s\", seed %llu, is not finite: the "
                           "weights or an adapter are out of range; try a smaller --cfg or strength, or another model",
                           b->p->items[first + i].prompt, (unsigned long long)b->p->items[first + i].seed);
    return true;
}

static bool allocate(struct batch *b)
{
    size_t n = (size_t)(b->copies * b->size);
    b->x = at_calloc(n * b->latent, sizeof(float));
    b->y = at_calloc(n * b->latent, sizeof(float));
    b->t = at_calloc(n, sizeof(float));
    b->text = at_calloc(n * b->text_row, sizeof(float));
    b->noise = at_calloc(b->latent, sizeof(float));
    if (!b->x || !b->y || !b->t || !b->text || !b->noise)
        return at_fail_memory(b->m->log, n * (2 * b->latent + b->text_row) * sizeof(float));
    return true;
}

static bool check_params(const struct at_model *m, const struct at_sample_params *p, int steps)
{
    if (p->count < 1)
        return at_fail(m->log, AT_ERROR_USAGE, "there are no images to make: give at least one prompt");
    if (!isfinite(p->cfg))
        return at_fail(m->log, AT_ERROR_USAGE, "guidance %g: must be a number", p->cfg);
    if (!(p->eta >= 0 && p->eta <= 1))
        return at_fail(m->log, AT_ERROR_USAGE, "eta %g: must be in 0 .. 1", p->eta);
    if (steps > MAX_STEPS)
        return at_fail(m->log, AT_ERROR_USAGE, "%d steps: at most %d", steps, MAX_STEPS);
    if (p->lora_count > MAX_ADAPTERS)
        return at_fail(m->log, AT_ERROR_USAGE, "%d adapters: at most %d", p->lora_count, MAX_ADAPTERS);
    return true;
}

bool at_sample(struct at_model *m, const struct at_sample_params *p, float *out, float *latents)
{
    int width, height, steps = p->steps > 0 ? p->steps : 25, factor = at_vae_factor(&m->vae);
    if (!at_sample_size(m, p, &width, &height))
        return false;
    if (!check_params(m, p, steps))
        return false;
    struct batch b = {.m = m, .p = p, .h = height / factor, .w = width / factor, .copies = p->cfg != 1 ? 2 : 1};
    b.size = p->batch > 0 ? p->batch : (int)(16 * 64 * 64 / ((int64_t)b.h * b.w));
    b.size = b.size < 1 ? 1 : b.size > 32 && p->batch <= 0 ? 32 : b.size;
    b.size = b.size < p->count ? b.size : p->count;
    b.latent = (size_t)b.h * (size_t)b.w * (size_t)m->unet.in_channels;
    b.text_row = (size_t)at_model_tokens(m) * (size_t)m->clip.width;
    b.total = (p->count + b.size - 1) / b.size * steps;
    struct at_adapter adapters[MAX_ADAPTERS];
    for (int i = 0; i < p->lora_count; i++)
        adapters[i] = p->loras[i]->adapter;
    struct at_denoiser_params dp = {b.copies * b.size, b.h, b.w, adapters, p->lora_count};
    bool ok = at_schedule_timesteps(m->schedule, steps, b.timesteps, m->log) == steps && allocate(&b) &&
              (b.denoiser = at_denoiser_create(m, &dp));
    for (int first = 0; ok && first < p->count; first += b.size)
        ok = run_batch(&b, first, steps, out, latents);
    at_denoiser_destroy(&b.denoiser);
    at_free(b.x);
    at_free(b.y);
    at_free(b.t);
    at_free(b.text);
    at_free(b.noise);
    return ok || at_fail_unsaid(m->log);
}
