// SPDX-License-Identifier: Apache-2.0
#include "tools/request.h"

#include "core/base/alloc.h"
#include "core/base/utf8.h"
#include "pipelines/sample/sample.h"
#include "tools/latents_option.h"
#include "tools/tile_option.h"

#include <math.h>
#include <string.h>

#define MOST_PICTURES 1000000
#define MOST_SIDE 65536
#define AT_ONCE 32 // drawn before they are saved: what an interruption may lose
#define PIXELS_AT_ONCE 4194304.0

void at_request_options(struct at_options *o, struct at_request *r)
{
    const struct at_option rows[] = {
        {"prompt", 'p', AT_OPTION_LIST, &r->texts, "TEXT", "what to draw"},
        {"prompt-file", 'f', AT_OPTION_TEXT, &r->file, "FILE",
         "prompts, one a line, or .json; after a prompt may stand its own --n negative, --w width, --h height, "
         "--d seed, --s steps, --l guidance and --ss sampler"},
        {"negative", 'n', AT_OPTION_TEXT, &r->negative, "TEXT", "what to keep away from; \"\" and none differ for SDXL",
         .blank = true},
        {"count", 0, AT_OPTION_INT, &r->count, "N", "images a prompt", .min = 1, .max = 100000},
        {"seed", 0, AT_OPTION_SEED, &r->seed, "N", "of a prompt's first image; the next has N + 1"},
        {"steps", 's', AT_OPTION_INT, &r->steps, "N", "steps of the sampler",
         .zero = "25, latent consistency models 4", .min = 1, .max = 1000},
        {"sampler", 0, AT_OPTION_CHOICE, &r->sampler, "NAME", "config is the model's own",
         .choices = at_sampler_names},
        {"karras", 0, AT_OPTION_FLAG, &r->karras, NULL, "noise levels of Karras et al., for euler and dpmpp_2m"},
        {"cfg", 0, AT_OPTION_REAL, &r->cfg, "X", "guidance scale; 1 is none",
         .zero = "7.5, SDXL 5, latent consistency models 8.5, embedded model 4",
         .min = 0.001, .max = 1000},
        {"cfg-rescale", 0, AT_OPTION_REAL, &r->cfg_rescale, "X", AT_REQUEST_RESCALE, .min = 0, .max = 1},
        {"rng", 0, AT_OPTION_CHOICE, &r->rng, "NAME", AT_REQUEST_RNG, .choices = at_rng_names},
        {"eta", 0, AT_OPTION_REAL, &r->eta, "X", "noise that ddim adds on the way: 0 none, 1 as ddpm", .min = 0,
         .max = 1},
        {"width", 0, AT_OPTION_INT, &r->width, "N", "pixels", .zero = "the model's own", .min = 0, .max = 32768},
        {"height", 0, AT_OPTION_INT, &r->height, "N", "pixels", .zero = "the model's own", .min = 0, .max = 32768},
        {"clip-skip", 0, AT_OPTION_INT, &r->clip_skip, "N",
         "last layers of the text encoders to leave out for prompts, counted as in diffusers (web UIs say N + 1)",
         .min = 0, .max = 1000},
        {"original-size", 0, AT_OPTION_TEXT, &r->original, "WxH", "SDXL: the size it is told the picture once had",
         .zero = "that of the picture"},
        {"crop", 0, AT_OPTION_TEXT, &r->crop, "TOP,LEFT", "SDXL: where it is told the picture was cut", .zero = "0,0"},
        {"batch", 0, AT_OPTION_INT, &r->batch, "N", "images at once", .zero = "chosen", .min = 0, .max = 4096},
        {"memory-limit", 0, AT_OPTION_SIZE, &r->memory_limit, "SIZE",
         "memory of the device to stay within, such as 2G: fewer images at once as needed, then weights that come and go, "
         "then prompt and negative prompt in turn",
         .zero = "what the device has"},
        at_tile_option(&r->tile_word),
        {"quiet", 'q', AT_OPTION_FLAG, &r->quiet, NULL, "no progress", .here = true},
        {0},
    };
    at_options_add(o, rows);
}

bool at_request_text(struct at_log *log, const char *option, const char *text)
{
    return !text || at_utf8_valid(text, strlen(text)) ||
           at_fail(log, AT_ERROR_USAGE, "--%s: the text is not UTF-8; set the terminal to UTF-8", option);
}

// Two numbers with a sign between them, all of the text.
static bool read_two(const char *text, char between, int least, int *first, int *second)
{
    int64_t a, b;
    const char *at = strchr(text, between);
    char left[16];
    if (!at || (size_t)(at - text) >= sizeof(left))
        return false;
    snprintf(left, sizeof(left), "%.*s", (int)(at - text), text);
    if (!at_text_int(left, &a) || !at_text_int(at + 1, &b) || a < least || b < least || a > MOST_SIDE || b > MOST_SIDE)
        return false;
    *first = (int)a;
    *second = (int)b;
    return true;
}

static bool read_sizes(struct at_request *r, struct at_log *log)
{
    if (r->original && !read_two(r->original, 'x', 1, &r->original_width, &r->original_height))
        return at_fail(log, AT_ERROR_USAGE, "--original-size %s: expected width and height up to %d, such as 1024x768",
                       r->original, MOST_SIDE);
    if (r->crop && !read_two(r->crop, ',', 0, &r->crop_top, &r->crop_left))
        return at_fail(log, AT_ERROR_USAGE, "--crop %s: expected top and left up to %d, such as 0,64", r->crop,
                       MOST_SIDE);
    return true;
}

bool at_request_read(struct at_request *r, const struct at_usage *usage, struct at_log *log)
{
    if (!r->file && r->texts.count == 0)
        return at_fail(log, AT_ERROR_USAGE, "%s needs a prompt: -p TEXT or --prompt-file FILE", usage->name);
    if (!at_tile_read(r->tile_word, &r->vae_tile, log))
        return false;
    if (!at_request_text(log, "negative", r->negative) || !read_sizes(r, log) ||
        (r->file && !at_prompts_read(log, r->file, &r->prompts)))
        return false;
    for (size_t i = 0; i < r->texts.count; i++)
        if (!at_request_text(log, "prompt", r->texts.items[i]) ||
            !at_prompts_add(log, &r->prompts, r->texts.items[i]))
            return false;
    if (r->prompts.count > (size_t)(MOST_PICTURES / r->count))
        return at_fail(log, AT_ERROR_USAGE, "%zu prompts with %d images each are more than %d", r->prompts.count,
                       r->count, MOST_PICTURES);
    return true;
}

void at_request_finish(struct at_request *r)
{
    at_prompts_finish(&r->prompts);
}

struct at_picture_note *at_request_notes(const struct at_request *r, const struct at_loaded *loaded,
                                         const struct at_device *dev, int *total, struct at_log *log)
{
    struct at_picture_note *notes = at_calloc(r->prompts.count * (size_t)r->count, sizeof(*notes));
    if (!notes) {
        at_fail_memory(log, sizeof(*notes));
        return NULL;
    }
    *total = 0;
    for (size_t i = 0; i < r->prompts.count; i++)
        for (int k = 0; k < r->count; k++) {
            const struct at_prompt *p = &r->prompts.items[i];
            notes[(*total)++] = (struct at_picture_note){
                .prompt = p->text,
                .negative = p->negative ? p->negative : r->negative,
                .seed = (p->has_seed ? p->seed : r->seed) + (uint64_t)k,
                .steps = p->steps ? p->steps : r->steps ? r->steps : at_sample_steps(loaded->model),
                .width = p->width ? p->width : r->width,
                .height = p->height ? p->height : r->height,
                .cfg = p->has_cfg ? p->cfg : r->cfg != 0 ? r->cfg : at_loaded_cfg(loaded),
                .cfg_rescale = r->cfg_rescale,
                .clip_skip = r->clip_skip,
                .original_width = r->original_width,
                .original_height = r->original_height,
                .crop_left = r->crop_left,
                .crop_top = r->crop_top,
                .eta = r->eta,
                .rng = (enum at_rng_kind)r->rng,
                .sampler = p->sampler ? p->sampler : (enum at_sampler_kind)r->sampler,
                .karras = r->karras,
                .latents = r->latents_path,
                .latent = r->latents_by_prompt ? (int)i : k,
                .loaded = loaded,
                .dev = dev,
            };
        }
    return notes;
}

struct share {
    struct at_cli *cli;
    int before, count, all; // pictures made, in the call under way, and in the whole job
};

static bool progress(void *priv, double done)
{
    struct share *s = priv;
    at_progress_update(&s->cli->progress, s->before + done * s->count, s->all, NULL);
    return !at_interrupted();
}

// How many pictures one call can make: of equal settings, and not too many to hold.
static int run_length(const struct at_picture_note *notes, int left, int width, int height)
{
    int most = (int)fmin(AT_ONCE, fmax(1, PIXELS_AT_ONCE / ((double)width * height))), n = 1;
    for (const struct at_picture_note *a = notes; n < most && n < left; n++) {
        const struct at_picture_note *b = a + n;
        if (a->steps != b->steps || a->width != b->width || a->height != b->height || a->cfg != b->cfg ||
            a->sampler != b->sampler)
            break;
    }
    return n;
}

// Makes the next pictures from *first on.
static bool draw_some(struct at_cli *cli, const struct at_draw_params *d, int *first)
{
    struct at_picture_note *note = &d->notes[*first];
    struct share share = {.cli = cli, .before = d->before + *first, .all = d->all};
    struct at_sample_item items[AT_ONCE];
    struct at_sample_params p = {
        .items = items, .steps = note->steps, .sampler = note->sampler, .karras = note->karras, .cfg = note->cfg,
        .cfg_rescale = note->cfg_rescale, .eta = note->eta, .rng = note->rng, .width = note->width,
        .height = note->height, .clip_skip = note->clip_skip, .original_width = note->original_width,
        .original_height = note->original_height, .crop_left = note->crop_left, .crop_top = note->crop_top,
        .batch = d->request->batch, .loras = d->loaded->loras,
        .memory_limit = d->request->memory_limit, .vae_tile = d->request->vae_tile, .preview = d->preview,
        .lora_count = d->loaded->count, .progress = progress, .priv = &share,
    };
    int width, height;
    if (!at_sample_size(d->loaded->model, &p, &width, &height))
        return false;
    p.count = share.count = run_length(note, d->total - *first, width, height);
    for (int i = 0; i < p.count; i++)
        items[i] = (struct at_sample_item){note[i].prompt, note[i].negative, note[i].seed};
    size_t size = (size_t)width * (size_t)height * 3;
    float *pixels = at_calloc((size_t)p.count * size, sizeof(float)), *init = NULL;
    if (d->request->latents && !(p.init = init = at_latents_gather(d->request->latents, note, p.count, &cli->log))) {
        at_free(pixels);
        return false;
    }
    bool ok = pixels ? at_sample(d->loaded->model, &p, pixels, NULL)
                     : at_fail_memory(&cli->log, (size_t)p.count * size * sizeof(float));
    int tile = d->loaded->model->vae_tile;
    for (int i = 0; ok && i < p.count; i++) {
        note[i].width = width;
        note[i].height = height;
        note[i].vae_tile = tile < width || tile < height ? tile : 0;
        note[i].sampler = note->sampler ? note->sampler : d->loaded->model->schedule->config.sampler;
        ok = d->take(d->priv, *first + i, &note[i], pixels + (size_t)i * size);
    }
    at_free(init);
    at_free(pixels);
    *first += p.count;
    return ok;
}

// Sizes of all pictures before the first is drawn, with the line of the file that asks for a wrong one.
static bool check_sizes(struct at_cli *cli, const struct at_draw_params *d)
{
    const struct at_request *r = d->request;
    const struct at_model *m = d->loaded->model;
    int factor = at_vae_factor(&m->vae), width, height;
    for (size_t i = 0; i < r->prompts.count; i++) {
        const struct at_prompt *p = &r->prompts.items[i];
        const struct at_picture_note *note = &d->notes[i * (size_t)r->count];
        if (p->width % factor || p->height % factor)
            return at_fail(&cli->log, AT_ERROR_INPUT, "%s:%zu: %dx%d: width and height must be multiples of %d",
                           r->file, p->line, note->width, note->height, factor);
        struct at_sample_params size = {.width = note->width, .height = note->height};
        if (!at_sample_size(m, &size, &width, &height))
            return false;
    }
    return true;
}

static void warn_of_negative(struct at_cli *cli, const struct at_draw_params *d)
{
    for (int i = 0; d->loaded->model->unet.guidance_dim && i < d->total; i++)
        if (d->notes[i].negative && d->notes[i].negative[0]) {
            at_warn(&cli->log, "%s is a latent consistency model, which reads no negative prompt: it is left out",
                    at_loaded_name(d->loaded));
            return;
        }
}

// The model's file may name a sampler that is not here.
static void tell_of_sampler(struct at_cli *cli, const struct at_draw_params *d)
{
    const char *foreign = d->loaded->model->schedule->foreign;
    bool config = false;
    for (int i = 0; foreign && i < d->total; i++)
        config = config || d->notes[i].sampler == AT_SAMPLER_CONFIG;
    if (config && !d->request->quiet)
        at_info(&cli->log, "%s: its scheduler is a %s, for which ddim stands in; --sampler takes " AT_SAMPLER_WORDS,
                at_loaded_name(d->loaded), foreign);
}

bool at_draw(struct at_cli *cli, const struct at_draw_params *d)
{
    if (!check_sizes(cli, d) ||
        !at_latents_check(d->request, d->loaded, d->notes, d->total, &cli->log))
        return false;
    warn_of_negative(cli, d);
    tell_of_sampler(cli, d);
    for (int first = 0; first < d->total;)
        if (!draw_some(cli, d, &first))
            return false;
    return true;
}
