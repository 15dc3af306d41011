// SPDX-License-Identifier: Apache-2.0
// attune invert: the noise that a picture can be drawn from again.
#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/image.h"
#include "tools/invert_files.h"
#include "tools/plan.h"
#include "tools/request.h"
#include "tools/tile_option.h"

#include <string.h>

#define MOST_IMAGES 1000

struct job {
    struct at_cli *cli;
    struct at_device_choice device;
    struct at_source_options reading;
    struct at_texts images, prompts, loras;
    const char *model, *out, *negative, *size, *tile;
    struct at_invert_params params;
    bool force, json, quiet;

    struct at_device *dev;
    struct at_loaded loaded;
    struct at_sample_item *items;
    float *pixels;
    struct at_inverted result;
};

static void add_options(struct at_options *o, struct job *j)
{
    struct at_sample_params *s = &j->params.sample;
    const struct at_option rows[] = {
        {"image", 'i', AT_OPTION_LIST, &j->images, "FILE", "picture to invert: PNG, JPEG or BMP", .required = true},
        {"model", 'm', AT_OPTION_TEXT, &j->model, "MODEL",
         "model folder in the layout of diffusers, or a checkpoint in one .safetensors file; MODEL+FILE adds an adapter",
         .zero = "the embedded model"},
        {"lora", 0, AT_OPTION_LIST, &j->loras, "FILE[:SCALE]", "adapter, and its strength"},
        {"prompt", 'p', AT_OPTION_LIST, &j->prompts, "TEXT", "what the picture shows: one for all, or one a picture",
         .zero = "nothing"},
        {"out", 'o', AT_OPTION_TEXT, &j->out, "FOLDER",
         "for latents.safetensors, invert.json, the pictures drawn again, and pages that compare them"},
        {"force", 0, AT_OPTION_FLAG, &j->force, NULL, "replace an inversion that is there", .here = true},
        {"steps", 's', AT_OPTION_INT, &s->steps, "N", "of DDIM, both ways; more are more exact", .min = 1, .max = 1000},
        {"fixed-point", 0, AT_OPTION_INT, &j->params.rounds, "N",
         "refine each step by at most so many further runs of the denoiser, until sampling leads back; 0: as diffusers",
         .min = 0, .max = 1000},
        {"tolerance", 0, AT_OPTION_REAL, &j->params.tolerance, "X",
         "of --fixed-point: how far sampling may miss a step's latents, relative to their size", .min = 0, .max = 1},
        {"size", 0, AT_OPTION_TEXT, &j->size, "N or WxH", "scale and cut pictures to this size, in pixels",
         .zero = "as they are"},
        {"negative", 'n', AT_OPTION_TEXT, &j->negative, "TEXT", "what to keep away from, with guidance"},
        {"cfg", 0, AT_OPTION_REAL, &s->cfg, "X", "guidance scale, both ways; 1 is none, and inverts best", .min = 0.001,
         .max = 1000},
        {"cfg-rescale", 0, AT_OPTION_REAL, &s->cfg_rescale, "X", AT_REQUEST_RESCALE, .min = 0, .max = 1},
        {"batch", 0, AT_OPTION_INT, &s->batch, "N", "pictures at once", .zero = "chosen", .min = 0, .max = 4096},
        {"memory-limit", 0, AT_OPTION_SIZE, &s->memory_limit, "SIZE",
         "memory of the device to stay within, such as 2G: fewer pictures at once, then the autoencoder in tiles, as needed",
         .zero = "what the device has"},
        at_tile_option(&j->tile),
        {"json", 0, AT_OPTION_FLAG, &j->json, NULL, "print the errors as JSON", .here = true},
        {"quiet", 'q', AT_OPTION_FLAG, &j->quiet, NULL, "no progress", .here = true},
        {0},
    };
    at_options_add(o, rows);
    at_reading_options(o, &j->reading);
    at_device_options(o, &j->device);
}

// "64" or "512x768".
static bool read_size(struct job *j)
{
    struct at_sample_params *s = &j->params.sample;
    int64_t width = 0, height = 0;
    if (!j->size)
        return true;
    const char *cross = strpbrk(j->size, "xX");
    char *first = cross ? at_strf("%.*s", (int)(cross - j->size), j->size) : at_strdup(j->size);
    bool ok = first && at_text_int(first, &width) && at_text_int(cross ? cross + 1 : first, &height) && width >= 1 &&
              height >= 1 && width <= AT_IMAGE_MAX_SIDE && height <= AT_IMAGE_MAX_SIDE;
    at_free(first);
    s->width = (int)width;
    s->height = (int)height;
    return ok || at_fail(&j->cli->log, AT_ERROR_USAGE, "--size: \"%.40s\" is not a size; write 512 or 512x768", j->size);
}

static bool list_items(struct job *j)
{
    struct at_log *log = &j->cli->log;
    size_t n = j->images.count;
    if (n > MOST_IMAGES)
        return at_fail(log, AT_ERROR_USAGE, "%zu images are more than %d", n, MOST_IMAGES);
    if (j->prompts.count > 1 && j->prompts.count != n)
        return at_fail(log, AT_ERROR_USAGE, "%zu prompts for %zu images: give one for all, or one an image, in their order",
                       j->prompts.count, n);
    if (!(j->items = at_calloc(n, sizeof(*j->items))))
        return at_fail_memory(log, n * sizeof(*j->items));
    for (size_t i = 0; i < j->prompts.count; i++)
        if (!at_request_text(log, "prompt", j->prompts.items[i]))
            return false;
    for (size_t i = 0; i < n; i++)
        j->items[i] = (struct at_sample_item){
            .prompt = j->prompts.count ? j->prompts.items[j->prompts.count > 1 ? i : 0] : "", .negative = j->negative};
    j->params.sample.items = j->items;
    j->params.sample.count = (int)n;
    return at_request_text(log, "negative", j->negative);
}

// A transparent picture lies on white.
static void to_floats(const struct at_image *image, float *out)
{
    for (size_t i = 0; i < (size_t)image->width * (size_t)image->height; i++) {
        const uint8_t *from = image->pixels + i * (size_t)image->channels;
        float cover = image->channels == 4 ? (float)from[3] / 255 : 1;
        for (int c = 0; c < 3; c++)
            out[3 * i + (size_t)c] = cover * (float)from[c] / 255 + 1 - cover;
    }
}

// Image i, of the size asked for; without one the first image's holds for all.
static bool read_image(struct job *j, size_t i)
{
    struct at_log *log = &j->cli->log;
    struct at_sample_params *s = &j->params.sample;
    const char *path = j->images.items[i];
    struct at_image image = {0}, fitted = {0};
    if (!at_image_read(log, path, 0, &image))
        return false;
    if (!s->width) {
        s->width = image.width;
        s->height = image.height;
    }
    bool same = image.width == s->width && image.height == s->height, ok = true;
    if (!same && !j->size)
        ok = at_fail(log, AT_ERROR_INPUT, "%s: has %dx%d pixels, %s %dx%d; --size makes them alike", path, image.width,
                     image.height, j->images.items[0], s->width, s->height);
    ok = ok && (same || at_image_cover(log, &image, s->width, s->height, &fitted));
    size_t size = (size_t)s->width * (size_t)s->height * 3;
    if (ok && !j->pixels && !(j->pixels = at_calloc(j->images.count * size, sizeof(float))))
        ok = at_fail_memory(log, j->images.count * size * sizeof(float));
    if (ok)
        to_floats(same ? &image : &fitted, j->pixels + i * size);
    at_image_finish(&image);
    at_image_finish(&fitted);
    return ok;
}

// What the model can do and what it was made for.
static bool check_size(struct job *j)
{
    const struct at_model *m = j->loaded.model;
    const struct at_sample_params *s = &j->params.sample;
    int factor = at_vae_factor(&m->vae), own = m->unet.sample_size * factor;
    if (s->width % factor || s->height % factor)
        return at_fail(&j->cli->log, j->size ? AT_ERROR_USAGE : AT_ERROR_INPUT,
                       "%s: %dx%d: width and height must be multiples of %d; --size %d scales and cuts",
                       j->size ? "--size" : j->images.items[0], s->width, s->height, factor, own ? own : 512);
    if (own && (s->width != own || s->height != own))
        at_warn(&j->cli->log, "the model was made for %dx%d pixels and inverts %dx%d less well; --size %d scales and cuts",
                own, own, s->width, s->height, own);
    return true;
}

// All that can be wrong is looked at before work begins.
static bool prepare(struct job *j)
{
    struct at_log *log = &j->cli->log;
    if (!at_tile_read(j->tile, &j->params.sample.vae_tile, log) || !read_size(j) || !list_items(j) || !at_loaded_parse(log, j->model, &j->loras, &j->loaded))
        return false;
    j->loaded.reading = &j->reading;
    if (!j->cli->planning && !at_invert_may_write(j->out, j->force, log))
        return false;
    for (size_t i = 0; i < j->images.count; i++)
        if (!read_image(j, i))
            return false;
    j->params.pixels = j->pixels;
    return (j->dev = at_cli_device(j->cli, &j->device)) && at_loaded_open(j->dev, &j->loaded, log) && check_size(j) &&
           (j->cli->planning || at_loaded_hash(&j->loaded, log));
}

static bool progress(void *priv, double done)
{
    struct job *j = priv;
    at_progress_update(&j->cli->progress, 100 * done, 100, NULL);
    return !at_interrupted();
}

static void print_trip(const char *name, const struct at_round_trip *t)
{
    printf("%-24s %9.2e %9.1f dB %9.1f dB %9.1f dB\n", name, t->latent_error, t->psnr, t->psnr_bound,
           t->psnr_of_autoencoder);
}

static void print_text(const struct job *j)
{
    const struct at_inverted *r = &j->result;
    struct at_round_trip mean = at_invert_mean(r);
    printf("%-24s %9s %12s %12s %12s\n", "", "latents", "picture", "at best", "to it");
    for (int i = 0; i < r->count; i++)
        print_trip(at_path_name(j->images.items[i]), &r->trip[i]);
    if (r->count > 1)
        print_trip("mean", &mean);
    if (j->params.rounds)
        printf("fixed point: %.1f rounds a step, largest residual %.1e on average, %.1e before\n", mean.rounds, mean.residual,
               mean.residual_before);
}

static bool work(struct job *j)
{
    struct at_log *log = &j->cli->log;
    struct at_sample_params *s = &j->params.sample;
    s->loras = j->loaded.loras;
    s->lora_count = j->loaded.count;
    if (j->cli->planning)
        return at_invert(j->loaded.model, &j->params, &j->result) && at_plan_print_sampling(j->cli, j->dev);
    s->progress = progress;
    s->priv = j;
    at_progress_begin(&j->cli->progress, "inverting", NULL, j->quiet);
    bool ok = at_invert(j->loaded.model, &j->params, &j->result);
    at_progress_end(&j->cli->progress);
    if (!ok)
        return false;
    struct at_invert_files files = {.dir = j->out, .images = &j->images, .params = &j->params, .result = &j->result,
                                    .loaded = &j->loaded, .dev = j->dev};
    struct at_json_doc *json = at_invert_json(&files, log);
    ok = json && at_invert_write(&files, json, log);
    if (ok && j->json)
        ok = at_cli_print_json(j->cli, json);
    else if (ok)
        print_text(j);
    at_json_destroy(&json);
    if (ok && !j->quiet)
        at_info(log, "%d picture%s in %s, by %s", j->result.count, j->result.count == 1 ? "" : "s", j->out, j->dev->name);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune invert",
        .summary = "the noise that a picture can be drawn from again",
        .synopsis = "-i FILE [-i FILE ...] [-p TEXT] [-m MODEL] [-o FOLDER] [options]",
        .about = "DDIM inversion: the picture goes through the autoencoder to latents and step by step to noise; sampling "
                 "that noise draws it again. Printed for each picture: how far its latents come back off, relative to their "
                 "size; the picture drawn again against the input; at best, which is what the autoencoder alone makes of "
                 "the input; and the picture against that. attune sample --latents FOLDER/latents.safetensors draws from the "
                 "noise.",
        .example = "  attune invert -i apple.png -p \"red apple\" --size 64 --fixed-point 5 -o apple\n"
                   "  attune sample --latents apple/latents.safetensors -p \"green apple\" --cfg 2 -o green\n",
    };
    struct job j = {.cli = cli, .out = "inverted", .params = {.tolerance = 1e-4, .sample = {.steps = 50, .cfg = 1}}};
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o)
        add_options(o, &j);
    bool ok = at_cli_parse(cli, o, argc, argv) && prepare(&j) && work(&j);
    at_inverted_finish(&j.result);
    at_free(j.items);
    at_free(j.pixels);
    at_loaded_finish(&j.loaded);
    at_device_close(&j.dev);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_invert = {"invert", "the noise that a picture can be drawn from again", run};
