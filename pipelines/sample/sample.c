// SPDX-License-Identifier: Apache-2.0
#include "pipelines/sample/sample.h"

#include "core/base/alloc.h"
#include "core/diffusion/guidance.h"
#include "core/diffusion/sampler.h"
#include "pipelines/model/condition.h"
#include "pipelines/model/denoiser.h"
#include "pipelines/model/stages.h"
#include "pipelines/model/text.h"
#include "pipelines/sample/walk.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_STEPS 1000

// Images of one call, a batch at a time. With guidance the first half of in, t, y and a batch's rows is the negative
// prompt's.
struct batch {
    struct at_walk walk; // for whoever leads the batch instead of the sampler
    struct at_model *m;
    const struct at_sample_params *p;
    struct at_denoiser *denoiser; // made at first use
    int steps, level;        // of the sampler; of the ways to save memory (tiles.h): from 1 on one stage after the other
    unsigned guests;         // parts whose weights are on the device only when they work
    bool apart;              // the denoiser takes one sample at once
    bool decodes;            // images are asked for
    int first;               // of the images at work
    int size, copies;        // images, and denoiser samples an image
    int h, w;                // of the latents
    size_t latent, row;      // floats of a sample, and of what it is told (condition.h)
    float *rows;             // (batches, copies, size): what all samples are told
    float *drawn;            // (count): the images' latents at the end
    float *x, *x0;           // (size): the samples, what they were last seen to become
    float *in, *t, *y;       // (copies, size): what the denoiser sees, and its output
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

static float *rows_of(const struct batch *b, int first)
{
    return b->rows + (size_t)(first * b->copies) * b->row;
}

// What is told of the samples, texts (copies,size) into `rows`.
static void tell(const struct batch *b, const float *texts, float *rows)
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
        at_condition_fill(&b->m->unet, tokens, &c, rows + (size_t)i * b->row);
    }
}

static int count_of(const struct batch *b, int first)
{
    return b->p->count - first < b->size ? b->p->count - first : b->size;
}

// Texts of the batch at `first` to its rows. As diffusers does, clip skip spares the negative prompts.
static bool embed(struct batch *b, int first)
{
    int count = count_of(b, first);
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
        tell(b, texts, rows_of(b, first));
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
    if (!at_denoiser_run(b->denoiser, b->in, b->t, rows_of(b, b->first), b->y))
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

static bool lead(struct batch *b)
{
    b->walk = (struct at_walk){.log = b->m->log, .first = b->first, .count = count_of(b, b->first),
                               .steps = b->sampler->count, .latent = b->latent, .x = b->x, .y = b->y,
                               .predict = walk_predict, .tick = walk_tick};
    return b->p->lead(b->p->leader, &b->walk);
}

static bool show(struct batch *b, int step)
{
    struct at_preview_sheet at = {.first = b->first, .step = step, .steps = b->sampler->count};
    return !b->p->preview || at_preview_step(b->p->preview, b->m, b->x0, count_of(b, b->first), &at);
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

// Where memory is scarce, no stage of the work waits while another one is at work: `next` is what works now.
static void tidy(struct batch *b, enum at_part next)
{
    if (!b->m->vae_tile)
        return;
    at_denoiser_destroy(&b->denoiser);
    at_model_stages_drop(b->m->stages, AT_PART_TEXT | AT_PART_VAE);
    at_model_rest(b->m, b->guests & ~(unsigned)next);
    at_preview_rest(b->p->preview);
}

static void begin(struct batch *b)
{
    for (int i = 0; i < b->size; i++) {
        int item = b->first + (i < count_of(b, b->first) ? i : 0);
        float *x = b->x + (size_t)i * b->latent;
        at_noise_seed(b->noise, i, b->p->items[item].seed);
        if (b->p->init)
            memcpy(x, b->p->init + (size_t)item * b->latent, b->latent * sizeof(float));
        else
            at_noise_initial(b->noise, i, x);
        for (size_t k = 0; k < b->latent; k++)
            x[k] = (float)(b->sampler->init_scale * (double)x[k]);
    }
}

// The batch at `first`, from its rows to latents.
static bool draw(struct batch *b, int first)
{
    struct at_adapter adapters[AT_MODEL_ADAPTERS];
    int count = at_lora_parts(b->p->loras, b->p->lora_count, AT_COMPONENT_UNET, adapters);
    struct at_denoiser_params network = {b->copies * b->size, b->apart, b->h, b->w, adapters, count};
    b->first = first;
    begin(b);
    if (!b->denoiser && !(b->denoiser = at_denoiser_create(b->m, &network)))
        return false;
    if (!(b->p->lead ? lead(b) : run_steps(b)))
        return false;
    memcpy(b->drawn + (size_t)first * b->latent, b->x, (size_t)count_of(b, first) * b->latent * sizeof(float));
    return true;
}

// The batch at `first`, from latents to pixels.
static bool develop(const struct batch *b, int first, float *out)
{
    int factor = at_vae_factor(&b->m->vae), count = count_of(b, first);
    size_t pixels = (size_t)(b->h * factor) * (size_t)(b->w * factor) * 3;
    float *to = out + (size_t)first * pixels;
    if (!at_model_decode(b->m, b->drawn + (size_t)first * b->latent, count, b->h, b->w, to))
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
    size_t n = (size_t)(b->copies * b->size), batches = (size_t)((b->p->count + b->size - 1) / b->size);
    b->x = at_calloc((size_t)b->size * b->latent, sizeof(float));
    b->x0 = at_calloc((size_t)b->size * b->latent, sizeof(float));
    b->in = at_calloc(n * b->latent, sizeof(float));
    b->y = at_calloc(n * b->latent, sizeof(float));
    b->t = at_calloc(n, sizeof(float));
    b->rows = at_calloc(batches * n * b->row, sizeof(float));
    b->drawn = at_calloc((size_t)b->p->count * b->latent, sizeof(float));
    if (!b->x || !b->x0 || !b->in || !b->y || !b->t || !b->rows || !b->drawn)
        return at_fail_memory(b->m->log, n * (4 * b->latent + batches * b->row) * sizeof(float));
    struct at_noise_params np = {b->p->rng, b->size, b->h, b->w, b->m->unet.in_channels};
    return (b->noise = at_noise_create(&np, b->m->log));
}

// All images, one kind of work after the other. What is to be done stands in b; buffers are made and freed here.
static bool work(struct batch *b, float *out, float *latents)
{
    struct at_model *m = b->m;
    const struct at_sample_params *p = b->p;
    struct at_sampler_params sp = {.steps = b->steps, .kind = p->sampler, .eta = p->eta, .karras = p->karras};
    b->latent = (size_t)b->h * (size_t)b->w * (size_t)m->unet.in_channels;
    b->row = at_condition_floats(&m->unet, at_text_tokens(m));
    b->total = (p->count + b->size - 1) / b->size * b->steps;
    at_lora_adapt_texts(m, p->loras, p->lora_count);
    bool ok = (b->sampler = at_sampler_create(m->schedule, &sp, m->log)) && allocate(b);
    tidy(b, AT_PART_TEXT);
    for (int first = 0; ok && first < p->count; first += b->size)
        ok = embed(b, first);
    tidy(b, AT_PART_UNET);
    for (int first = 0; ok && first < p->count; first += b->size)
        ok = draw(b, first);
    tidy(b, AT_PART_VAE);
    for (int first = 0; ok && out && first < p->count; first += b->size)
        ok = develop(b, first, out);
    tidy(b, AT_PART_UNET);
    if (ok && latents)
        memcpy(latents, b->drawn, (size_t)p->count * b->latent * sizeof(float));
    at_lora_adapt_texts(m, NULL, 0);
    at_denoiser_destroy(&b->denoiser);
    at_sampler_destroy(&b->sampler);
    at_noise_destroy(&b->noise);
    at_free(b->x);
    at_free(b->x0);
    at_free(b->in);
    at_free(b->y);
    at_free(b->t);
    at_free(b->rows);
    at_free(b->drawn);
    return ok;
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

struct need {
    size_t all, weights; // bytes of the device at the peak; 0: it cannot be
};

// What one batch takes, with or without decoding.
static struct need need_of(const struct batch *b, bool decodes)
{
    struct at_log quiet = {.level = AT_LEVEL_ERROR, .write = at_log_drop};
    struct at_preview preview = {0};
    struct at_model copy;
    struct at_sample_params one = *b->p;
    int factor = at_vae_factor(&b->m->vae);
    size_t n = decodes ? (size_t)b->size * (size_t)(b->h * factor) * (size_t)(b->w * factor) * 3 : 1;
    float *pixels = at_calloc(n, sizeof(float));
    bool ok = at_model_try(b->m, &quiet, &copy) && pixels &&
              (!one.preview || at_preview_try(one.preview, copy.dev, &quiet, &preview));
    one.count = b->size;
    one.progress = NULL;
    one.preview = one.preview ? &preview : NULL;
    struct batch trial = *b;
    trial.m = &copy;
    trial.p = &one;
    trial.steps = one.preview ? 2 : 1;
    ok = ok && work(&trial, decodes ? pixels : NULL, NULL);
    struct need need = {0};
    if (ok)
        need = (struct need){b->m->dev->allocated + copy.dev->peak,
                             b->m->dev->used[AT_USE_WEIGHTS] + copy.dev->peak_used[AT_USE_WEIGHTS]};
    at_preview_forget(&preview);
    at_model_try_end(b->m, &copy);
    at_free(pixels);
    return need;
}

// The autoencoder's tiles at a level. Those who want none have at least one picture after the other.
static int tile_at(const struct batch *b, int level)
{
    const struct at_vae_config *vae = &b->m->vae;
    int factor = at_vae_factor(vae), setting = b->p->vae_tile;
    if (setting == AT_TILE_OFF && level) {
        setting = AT_TILE_AUTO;
        level = 1;
    }
    return at_tile_side(vae, b->h * factor, b->w * factor, setting, level);
}

// Goes to smaller tiles, if there are.
static bool smaller_tiles(struct batch *b)
{
    while (b->level + 1 < AT_TILE_LEVELS && tile_at(b, b->level + 1) == b->m->vae_tile)
        b->level++;
    if (b->level + 1 == AT_TILE_LEVELS)
        return false;
    b->m->vae_tile = tile_at(b, ++b->level);
    return true;
}

// One step towards less memory; false: there is none left. `draws`: all but the decoding fits. `possible`: what does not
// fit would with more memory, so that no single tensor is too large. What changes nothing of the pictures goes first.
static bool give_way(struct batch *b, bool draws, bool possible, int size)
{
    if (b->level == 0 && b->size == 1) {
        b->size = size;
        b->m->vae_tile = tile_at(b, b->level = 1);
    } else if (b->size > 1 && (b->level == 0 || !draws)) {
        b->size /= 2;
    } else if (possible && !(b->guests & AT_PART_UNET) && !b->p->resident && !b->m->dev->offload) {
        b->guests |= b->guests ? AT_PART_UNET : AT_PART_TEXT | AT_PART_VAE;
        at_model_rest(b->m, b->guests);
    } else if (!draws && !b->apart && b->copies > 1) {
        b->apart = true;
    } else {
        return draws && smaller_tiles(b);
    }
    return true;
}

static void say_way(const struct batch *b, size_t limit)
{
    char tiles[80] = "";
    if (b->level > 1)
        snprintf(tiles, sizeof(tiles), "; the autoencoder works in tiles of %d pixels", b->m->vae_tile);
    if (b->guests || b->apart || b->level > 1)
        at_info(b->m->log, "to fit %.1f MiB: one stage after the other%s%s%s", (double)limit / (1 << 20),
                b->guests & AT_PART_UNET ? "; weights come when their part works, and leave"
                : b->guests ? "; weights of text encoders and autoencoder come when they work, and leave" : "",
                b->apart ? "; prompt and negative prompt run one after the other" : "", tiles);
}

// Chooses how many images at once, and what else must be done to stay within memory.
static bool fit_batch(struct batch *b)
{
    struct at_model *m = b->m;
    size_t limit = b->p->memory_limit ? b->p->memory_limit : m->dev->memory;
    struct need least = {0};
    int size = b->size;
    m->vae_tile = tile_at(b, 0);
    if (!limit)
        return true;
    at_model_stages_drop(m->stages, AT_PART_TEXT | AT_PART_VAE); // or a call's share would hang on the calls before it
    for (bool draws;;) {
        struct need need = need_of(b, b->decodes);
        if (need.all && (!least.all || need.all < least.all))
            least = need;
        if (need.all && need.all <= limit) {
            say_way(b, limit);
            return true;
        }
        struct need drawing = b->level && b->decodes ? need_of(b, false) : need;
        draws = drawing.all && drawing.all <= limit;
        if (!give_way(b, draws, draws ? need.all : drawing.all, size))
            break;
    }
    if (!least.all)
        return true; // it fails for another reason, which the real run says
    return at_fail(m->log, AT_ERROR_DEVICE, "one picture needs %.1f MiB, %.1f of them for weights, but the limit is "
                   "%.1f MiB; raise --memory-limit, or lower --width and --height%s%s",
                   (double)least.all / (1 << 20), (double)least.weights / (1 << 20),
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
    struct batch b = {.m = m, .p = p, .steps = steps, .h = height / factor, .w = width / factor,
                      .copies = is_guided(m, p) ? 2 : 1, .decodes = out};
    b.size = p->batch > 0 ? p->batch : (int)(16 * 64 * 64 / ((int64_t)b.h * b.w));
    b.size = b.size < 1 ? 1 : b.size > 32 && p->batch <= 0 ? 32 : b.size;
    b.size = b.size < p->count ? b.size : p->count;
    if (p->preview && !at_preview_begin(p->preview, m, b.h, b.w, b.copies))
        return false;
    return (fit_batch(&b) && work(&b, out, latents)) || at_fail_unsaid(m->log);
}
