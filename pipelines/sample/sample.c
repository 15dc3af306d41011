// SPDX-License-Identifier: Apache-2.0
#include "pipelines/sample/sample.h"

#include "core/base/alloc.h"
#include "core/diffusion/guidance.h"
#include "core/diffusion/sampler.h"
#include "core/graph/dry.h"
#include "pipelines/model/condition.h"
#include "pipelines/model/denoiser.h"
#include "pipelines/model/stages.h"
#include "pipelines/model/text.h"
#include "pipelines/sample/walk.h"

#include <math.h>
#include <string.h>

#define MAX_STEPS 1000

// Buffers of one batch of images. With guidance the first half of in, t, rows and y is the negative prompt's.
struct batch {
    struct at_walk walk; // for whoever leads the batch instead of the sampler
    struct at_model *m;
    const struct at_sample_params *p;
    struct at_denoiser_params network;
    struct at_denoiser *denoiser; // made at first use
    int first;               // of the images at work
    int size, copies;        // images, and denoiser samples an image
    int h, w;                // of the latents
    size_t latent, row;      // floats of a sample, and of what it is told (condition.h)
    float *x, *x0;              // (size): the samples, what they were last seen to become
    float *in, *t, *rows, *y;   // (copies, size): what the denoiser sees, and its output
    struct at_noise *noise;
    struct at_sampler *sampler;
    double done, total; // steps, for progress
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

int at_sample_steps(const struct at_model *m)
{
    return m->unet.guidance_dim ? 4 : 25;
}

double at_sample_cfg(const struct at_model *m)
{
    return m->unet.guidance_dim ? 8.5 : m->texts > 1 ? 5 : 7.5;
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

// What is told of the samples, texts (copies,size) into b->rows.
static void tell(struct batch *b, const float *texts)
{
    const struct at_sample_params *p = b->p;
    size_t floats = at_text_floats(b->m);
    int factor = at_vae_factor(&b->m->vae), tokens = at_text_tokens(b->m);
    struct at_sizes sizes = at_sizes_whole(b->h * factor, b->w * factor);
    if (p->original_height)
        sizes.original_height = p->original_height;
    if (p->original_width)
        sizes.original_width = p->original_width;
    sizes.top = p->crop_top;
    sizes.left = p->crop_left;
    for (int i = 0; i < b->copies * b->size; i++) {
        struct at_condition c = {texts + (size_t)i * floats, &sizes, p->cfg};
        at_condition_fill(&b->m->unet, tokens, &c, b->rows + (size_t)i * b->row);
    }
}

// Texts of images [first, first + count) to b->rows. As diffusers does, clip skip spares the negative prompts.
static bool embed(struct batch *b, int first, int count)
{
    struct at_text_params skip = {.clip_skip = b->p->clip_skip};
    size_t floats = at_text_floats(b->m), n = (size_t)(b->copies * b->size);
    int negative = (b->copies - 1) * b->size;
    const char **prompts = at_calloc(n, sizeof(*prompts));
    float *texts = at_calloc(n * floats, sizeof(float));
    bool ok = (prompts && texts) || at_fail_memory(b->m->log, n * floats * sizeof(float));
    for (int i = 0; ok && i < b->size; i++) {
        const struct at_sample_item *item = &b->p->items[first + (i < count ? i : 0)];
        prompts[i] = item->negative;
        prompts[negative + i] = item->prompt;
    }
    if (ok && negative && skip.clip_skip)
        ok = at_text_embed(b->m, prompts, negative, NULL, texts) &&
             at_text_embed(b->m, prompts + negative, b->size, &skip, texts + (size_t)negative * floats);
    else
        ok = ok && at_text_embed(b->m, prompts, (int)n, &skip, texts);
    if (ok)
        tell(b, texts);
    at_free(prompts);
    at_free(texts);
    return ok;
}

// y of the guided prediction into the first `size` samples of b->y.
static bool predict(struct batch *b, double timestep, double in_scale)
{
    size_t half = (size_t)b->size * b->latent;
    float scale = (float)in_scale;
    for (size_t i = 0; i < half; i++)
        b->in[i] = scale * b->x[i];
    if (b->copies == 2)
        memcpy(b->in + half, b->in, half * sizeof(float));
    for (int i = 0; i < b->copies * b->size; i++)
        b->t[i] = (float)timestep;
    if (!at_denoiser_run(b->denoiser, b->in, b->t, b->rows, b->y))
        return false;
    const struct at_guidance g = {b->p->cfg, b->p->cfg_rescale};
    for (size_t at = 0; b->copies == 2 && at < half; at += b->latent)
        at_guide(&g, b->y + at, b->y + half + at, b->y + at, b->latent);
    return true;
}

static bool tick(struct batch *b, double steps)
{
    b->done += steps;
    return !b->p->progress || b->p->progress(b->p->priv, b->done / b->total) ||
           at_fail(b->m->log, AT_ERROR_INTERRUPTED, "the work was interrupted");
}

static bool walk_predict(struct at_walk *walk, double timestep)
{
    return predict((struct batch *)walk, timestep, 1);
}

static bool walk_tick(struct at_walk *walk, double done)
{
    return tick((struct batch *)walk, done);
}

static bool lead(struct batch *b, int first, int count)
{
    b->walk = (struct at_walk){.log = b->m->log, .first = first, .count = count, .steps = b->sampler->count,
                               .latent = b->latent, .x = b->x, .y = b->y, .predict = walk_predict, .tick = walk_tick};
    return b->p->lead(b->p->leader, &b->walk);
}

static bool show(struct batch *b, int step)
{
    int left = b->p->count - b->first;
    struct at_preview_sheet at = {.first = b->first, .step = step, .steps = b->sampler->count};
    return !b->p->preview || at_preview_step(b->p->preview, b->m, b->x0, left < b->size ? left : b->size, &at);
}

static bool run_steps(struct batch *b)
{
    for (int s = 0; s < b->sampler->count; s++) {
        const struct at_sampler_step *step = &b->sampler->step[s];
        if (!predict(b, step->timestep, step->in_scale))
            return false;
        for (int i = 0; i < b->size; i++) {
            size_t at = (size_t)i * b->latent;
            const float *z = step->noise > 0 ? at_noise_step(b->noise, i, s) : NULL;
            at_sampler_apply(step, b->x + at, b->y + at, b->x0 + at, z, b->latent);
        }
        if (!show(b, s + 1) || !tick(b, 1))
            return false;
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

// Where memory is scarce, no stage of the work waits while another one is at work.
static void tidy(struct batch *b)
{
    if (!b->m->vae_tile)
        return;
    at_model_stages_drop(b->m->stages, AT_PART_TEXT | AT_PART_VAE);
    at_denoiser_destroy(&b->denoiser);
    at_preview_rest(b->p->preview);
}

// Images [first, first + count) to `out` (pixels) and `latents`.
static bool run_batch(struct batch *b, int first, float *out, float *latents)
{
    int count = b->p->count - first < b->size ? b->p->count - first : b->size;
    b->first = first;
    if (!embed(b, first, count))
        return false;
    tidy(b);
    for (int i = 0; i < b->size; i++) {
        int item = first + (i < count ? i : 0);
        float *x = b->x + (size_t)i * b->latent;
        at_noise_seed(b->noise, i, b->p->items[item].seed);
        if (b->p->init)
            memcpy(x, b->p->init + (size_t)item * b->latent, b->latent * sizeof(float));
        else
            at_noise_initial(b->noise, i, x);
        for (size_t k = 0; k < b->latent; k++)
            x[k] = (float)(b->sampler->init_scale * (double)x[k]);
    }
    if (!b->denoiser && !(b->denoiser = at_denoiser_create(b->m, &b->network)))
        return false;
    if (!(b->p->lead ? lead(b, first, count) : run_steps(b)))
        return false;
    if (latents)
        memcpy(latents + (size_t)first * b->latent, b->x, (size_t)count * b->latent * sizeof(float));
    tidy(b);
    if (!out)
        return true;
    int factor = at_vae_factor(&b->m->vae);
    size_t pixels = (size_t)(b->h * factor) * (size_t)(b->w * factor) * 3;
    float *to = out + (size_t)first * pixels;
    bool ok = at_model_decode(b->m, b->x, count, b->h, b->w, to);
    tidy(b);
    if (!ok)
        return false;
    for (int i = 0; i < count; i++)
        if (!to_unit(to + (size_t)i * pixels, pixels))
            return at_fail(b->m->log, AT_ERROR_FAILED, "the picture of \"%.60s\", seed %llu, is not finite: the "
                           "weights or an adapter are out of range; try a smaller --cfg or strength, or another model; "
                           "--guard names the layer",
                           b->p->items[first + i].prompt, (unsigned long long)b->p->items[first + i].seed);
    return true;
}

static bool allocate(struct batch *b)
{
    size_t n = (size_t)(b->copies * b->size);
    b->x = at_calloc((size_t)b->size * b->latent, sizeof(float));
    b->x0 = at_calloc((size_t)b->size * b->latent, sizeof(float));
    b->in = at_calloc(n * b->latent, sizeof(float));
    b->y = at_calloc(n * b->latent, sizeof(float));
    b->t = at_calloc(n, sizeof(float));
    b->rows = at_calloc(n * b->row, sizeof(float));
    if (!b->x || !b->x0 || !b->in || !b->y || !b->t || !b->rows)
        return at_fail_memory(b->m->log, n * (3 * b->latent + b->row) * sizeof(float));
    struct at_noise_params np = {b->p->rng, b->size, b->h, b->w, b->m->unet.in_channels};
    return (b->noise = at_noise_create(&np, b->m->log));
}

static bool check_params(const struct at_model *m, const struct at_sample_params *p, int steps)
{
    if (p->count < 1)
        return at_fail(m->log, AT_ERROR_USAGE, "there are no images to make: give at least one prompt");
    if (!isfinite(p->cfg))
        return at_fail(m->log, AT_ERROR_USAGE, "guidance %g: must be a number", p->cfg);
    if (!(p->cfg_rescale >= 0 && p->cfg_rescale <= 1))
        return at_fail(m->log, AT_ERROR_USAGE, "rescaling of guidance %g: must be in 0 .. 1", p->cfg_rescale);
    if (!(p->eta >= 0 && p->eta <= 1))
        return at_fail(m->log, AT_ERROR_USAGE, "eta %g: must be in 0 .. 1", p->eta);
    bool told = p->original_width || p->original_height || p->crop_left || p->crop_top;
    if (told && !m->unet.addition_time)
        return at_fail(m->log, AT_ERROR_USAGE, "an original size and a crop are read by SDXL models alone");
    if (steps > MAX_STEPS)
        return at_fail(m->log, AT_ERROR_USAGE, "%d steps: at most %d", steps, MAX_STEPS);
    if (p->lora_count > AT_MODEL_ADAPTERS)
        return at_fail(m->log, AT_ERROR_USAGE, "%d adapters: at most %d", p->lora_count, AT_MODEL_ADAPTERS);
    return true;
}

// What a batch of `size` images takes on the device beside what is allocated there; 0 if it cannot be.
static size_t batch_bytes(const struct at_model *m, const struct at_sample_params *p, int size, int tile)
{
    struct at_log quiet = {.level = AT_LEVEL_ERROR, .write = at_log_drop};
    struct at_device *dry = at_dry_open(m->dev, &quiet);
    struct at_model copy = *m;
    struct at_sample_params one = *p;
    struct at_preview preview = {0};
    int width, height;
    bool ok = dry && at_sample_size(m, p, &width, &height);
    size_t bytes = 0;
    if (ok) {
        dry->memory = 0;
        copy.dev = dry;
        copy.log = &quiet;
        one.batch = one.count = size;
        one.steps = p->preview ? 2 : 1;
        one.memory_limit = 0;
        one.vae_tile = tile ? tile : AT_TILE_OFF;
        one.progress = NULL;
        float *pixels = at_calloc((size_t)size * (size_t)width * (size_t)height * 3, sizeof(float));
        ok = pixels && (!p->preview || at_preview_try(p->preview, dry, &quiet, &preview));
        one.preview = p->preview ? &preview : NULL;
        ok = ok && (copy.stages = at_model_stages_create(&quiet)) && at_sample(&copy, &one, pixels, NULL);
        bytes = ok ? dry->peak : 0;
        at_preview_forget(&preview);
        at_model_stages_destroy(&copy.stages);
        at_free(pixels);
    }
    at_device_close(&dry);
    return bytes;
}

// Halves the batch until it fits into memory, tiles of side `tile` given; *least becomes the least that was needed.
static bool fit_size(struct batch *b, size_t limit, int tile, size_t *least)
{
    for (int size = b->size;; size /= 2) {
        size_t bytes = batch_bytes(b->m, b->p, size, tile);
        if (bytes && bytes < *least)
            *least = bytes;
        if (bytes && b->m->dev->allocated + bytes <= limit) {
            b->size = size;
            return true;
        }
        if (size == 1)
            return false;
    }
}

// Chooses how many images at once, and the tiles of the autoencoder.
static bool fit_batch(struct batch *b)
{
    struct at_model *m = b->m;
    int height = b->h * at_vae_factor(&m->vae), width = b->w * at_vae_factor(&m->vae), before = -1;
    size_t limit = b->p->memory_limit ? b->p->memory_limit : m->dev->memory, least = SIZE_MAX;
    m->vae_tile = at_tile_side(&m->vae, height, width, b->p->vae_tile, 0);
    if (!limit)
        return true;
    at_model_stages_drop(m->stages, AT_PART_TEXT | AT_PART_VAE); // or a call's share would hang on the calls before it
    for (int level = 0; level < AT_TILE_LEVELS; level++, before = m->vae_tile) {
        m->vae_tile = at_tile_side(&m->vae, height, width, b->p->vae_tile, level);
        if (m->vae_tile == before || !fit_size(b, limit, m->vae_tile, &least))
            continue;
        if (level > 1)
            at_info(m->log, "to fit %.1f MiB: the autoencoder works in tiles of %d pixels", (double)limit / (1 << 20),
                    m->vae_tile);
        return true;
    }
    if (least == SIZE_MAX)
        return true; // it fails for another reason, which the real run says
    return at_fail(m->log, AT_ERROR_DEVICE, "one picture needs %.1f MiB, %.1f of them for weights, but the limit is "
                   "%.1f MiB; raise --memory-limit, or lower --width and --height%s%s",
                   (double)(m->dev->allocated + least) / (1 << 20), (double)m->dev->allocated / (1 << 20),
                   (double)limit / (1 << 20), at_device_memory_knobs(m->dev),
                   b->p->vae_tile == AT_TILE_AUTO ? "" : ", or allow --vae-tile auto");
}

// A latent consistency model takes the guidance scale as an input, and no negative prompt.
static bool is_guided(const struct at_model *m, const struct at_sample_params *p)
{
    return p->cfg != 1 && !m->unet.guidance_dim;
}

bool at_sample(struct at_model *m, const struct at_sample_params *p, float *out, float *latents)
{
    int width, height, steps = p->steps > 0 ? p->steps : at_sample_steps(m), factor = at_vae_factor(&m->vae);
    if (!at_sample_size(m, p, &width, &height))
        return false;
    if (!check_params(m, p, steps) || !at_tile_check(&m->vae, p->vae_tile, m->log))
        return false;
    struct batch b = {.m = m, .p = p, .h = height / factor, .w = width / factor, .copies = is_guided(m, p) ? 2 : 1};
    b.size = p->batch > 0 ? p->batch : (int)(16 * 64 * 64 / ((int64_t)b.h * b.w));
    b.size = b.size < 1 ? 1 : b.size > 32 && p->batch <= 0 ? 32 : b.size;
    b.size = b.size < p->count ? b.size : p->count;
    if (p->preview && !at_preview_begin(p->preview, m, b.h, b.w, b.copies))
        return false;
    if (!fit_batch(&b))
        return false;
    b.latent = (size_t)b.h * (size_t)b.w * (size_t)m->unet.in_channels;
    b.row = at_condition_floats(&m->unet, at_text_tokens(m));
    b.total = (p->count + b.size - 1) / b.size * steps;
    struct at_sampler_params sp = {.steps = steps, .kind = p->sampler, .eta = p->eta, .karras = p->karras};
    struct at_adapter adapters[AT_MODEL_ADAPTERS];
    at_lora_adapt_texts(m, p->loras, p->lora_count);
    int count = at_lora_parts(p->loras, p->lora_count, AT_COMPONENT_UNET, adapters);
    b.network = (struct at_denoiser_params){b.copies * b.size, b.h, b.w, adapters, count};
    bool ok = (b.sampler = at_sampler_create(m->schedule, &sp, m->log)) && allocate(&b);
    for (int first = 0; ok && first < p->count; first += b.size)
        ok = run_batch(&b, first, out, latents);
    at_lora_adapt_texts(m, NULL, 0);
    at_denoiser_destroy(&b.denoiser);
    at_sampler_destroy(&b.sampler);
    at_noise_destroy(&b.noise);
    at_free(b.x);
    at_free(b.x0);
    at_free(b.in);
    at_free(b.y);
    at_free(b.t);
    at_free(b.rows);
    return ok || at_fail_unsaid(m->log);
}
