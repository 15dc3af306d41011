// SPDX-License-Identifier: Apache-2.0
// attune sample: images from prompts.
#include "core/base/alloc.h"
#include "core/io/file.h"
#include "datasets/prompts.h"
#include "pipelines/sample.h"
#include "tools/cli.h"
#include "tools/device.h"
#include "tools/picture_file.h"

#include <math.h>
#include <string.h>

#define PIXELS_AT_ONCE 4194304.0 // of the images that are kept in memory until they are saved

struct job {
    struct at_cli *cli;
    struct at_device_choice device;
    const char *model, *negative, *file, *out;
    struct at_texts prompts, loras;
    uint64_t seed;
    int count, steps, width, height, batch;
    double cfg, eta;
    bool force, json, quiet;

    struct at_device *dev;
    struct at_loaded loaded;
    struct at_prompts list;
    struct at_picture_note *pictures; // all to be made, in order
    int total, done;
    int64_t number;
    struct at_json_doc *result;
};

static void add_options(struct at_options *o, struct job *j)
{
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_TEXT, &j->model, "DIR", "model folder in the layout of diffusers; DIR+LORA adds an adapter",
         .zero = "the embedded model"},
        {"prompt", 'p', AT_OPTION_LIST, &j->prompts, "TEXT", "what to draw"},
        {"prompt-file", 'f', AT_OPTION_TEXT, &j->file, "FILE",
         "prompts, one a line, each with its own --n --w --h --d --s --l if need be; or .json"},
        {"negative", 'n', AT_OPTION_TEXT, &j->negative, "TEXT", "what to keep away from"},
        {"out", 'o', AT_OPTION_TEXT, &j->out, "PATH", "folder, or name of the one .png"},
        {"count", 0, AT_OPTION_INT, &j->count, "N", "images a prompt", .min = 1, .max = 100000},
        {"seed", 0, AT_OPTION_SEED, &j->seed, "N", "of a prompt's first image; the next has N + 1"},
        {"steps", 's', AT_OPTION_INT, &j->steps, "N", "steps of the sampler (DDIM)", .min = 1, .max = 1000},
        {"cfg", 0, AT_OPTION_REAL, &j->cfg, "X", "guidance scale; 1 is none", .zero = "7.5, embedded model 4",
         .min = 0, .max = 1000},
        {"eta", 0, AT_OPTION_REAL, &j->eta, "X", "noise added on the way: 0 none, 1 as DDPM", .min = 0, .max = 1},
        {"width", 0, AT_OPTION_INT, &j->width, "N", "pixels", .zero = "the model's own", .min = 0, .max = 32768},
        {"height", 0, AT_OPTION_INT, &j->height, "N", "pixels", .zero = "the model's own", .min = 0, .max = 32768},
        {"batch", 0, AT_OPTION_INT, &j->batch, "N", "images at once", .zero = "chosen", .min = 0, .max = 4096},
        {"lora", 0, AT_OPTION_LIST, &j->loras, "FILE[:SCALE]", "adapter, and its strength"},
        {"force", 0, AT_OPTION_FLAG, &j->force, NULL, "replace the .png if it is there", .here = true},
        {"json", 0, AT_OPTION_FLAG, &j->json, NULL, "print what was made as JSON", .here = true},
        {"quiet", 'q', AT_OPTION_FLAG, &j->quiet, NULL, "no progress", .here = true},
        {0},
    };
    at_options_add(o, rows);
    at_device_options(o, &j->device);
}

static bool read_prompts(struct job *j)
{
    struct at_log *log = &j->cli->log;
    if (!j->file && j->prompts.count == 0)
        return at_fail(log, AT_ERROR_USAGE, "attune sample needs a prompt: -p TEXT or --prompt-file FILE");
    if (j->file && !at_prompts_read(log, j->file, &j->list))
        return false;
    for (size_t i = 0; i < j->prompts.count; i++)
        if (!at_prompts_add(log, &j->list, j->prompts.items[i]))
            return false;
    return true;
}

// One note a picture: the settings of the prompt's line, else those of the command line.
static bool list_pictures(struct job *j)
{
    struct at_log *log = &j->cli->log;
    if (j->list.count > (size_t)(1000000 / j->count))
        return at_fail(log, AT_ERROR_USAGE, "%zu prompts with %d images each are more than a million", j->list.count,
                       j->count);
    j->pictures = at_calloc(j->list.count * (size_t)j->count, sizeof(*j->pictures));
    if (!j->pictures)
        return at_fail_memory(log, sizeof(*j->pictures));
    for (size_t i = 0; i < j->list.count; i++)
        for (int k = 0; k < j->count; k++) {
            const struct at_prompt *p = &j->list.items[i];
            j->pictures[j->total++] = (struct at_picture_note){
                .prompt = p->text,
                .negative = p->negative ? p->negative : j->negative,
                .seed = (p->has_seed ? p->seed : j->seed) + (uint64_t)k,
                .steps = p->steps ? p->steps : j->steps,
                .width = p->width ? p->width : j->width,
                .height = p->height ? p->height : j->height,
                .cfg = p->has_cfg ? p->cfg : j->cfg ? j->cfg : at_loaded_cfg(&j->loaded),
                .eta = j->eta,
                .loaded = &j->loaded,
                .dev = j->dev,
            };
        }
    return true;
}

static bool one_file(const char *out)
{
    size_t n = strlen(out);
    return n > 4 && strcasecmp(out + n - 4, ".png") == 0 && !at_dir_exists(out);
}

static bool prepare_out(struct job *j)
{
    struct at_log *log = &j->cli->log;
    if (!one_file(j->out))
        return at_dir_make(log, j->out) && at_picture_next_number(log, j->out, &j->number);
    if (j->total != 1)
        return at_fail(log, AT_ERROR_USAGE, "--out %s is one picture, but %d are to be made; give a folder", j->out,
                       j->total);
    if (at_file_exists(j->out) && !j->force)
        return at_fail(log, AT_ERROR_INPUT, "%s is there already; --force replaces it", j->out);
    char *dir = at_path_dir(j->out);
    bool ok = dir && at_dir_make(log, dir);
    at_free(dir);
    return ok;
}

static bool save(struct job *j, const struct at_picture_note *note, const float *pixels)
{
    struct at_log *log = &j->cli->log;
    struct at_image image;
    if (!at_sample_image(log, pixels, note->width, note->height, &image))
        return false;
    char *name = one_file(j->out) ? NULL : at_picture_name(j->number++, note->seed, note->prompt);
    char *path = name ? at_path_join(j->out, name) : at_strdup(j->out);
    bool ok = path && at_picture_save(log, path, &image, note);
    if (ok) {
        struct at_json file = at_json_put_object(at_json_get(at_json_root(j->result), "images"), NULL);
        at_json_put_str(file, "path", path);
        at_json_put_str(file, "prompt", note->prompt);
        at_json_put_int(file, "seed", (int64_t)note->seed);
    }
    at_image_finish(&image);
    at_free(name);
    at_free(path);
    return ok;
}

struct share {
    struct job *job;
    int count; // of pictures in the call under way
};

static bool progress(void *priv, double done)
{
    struct share *s = priv;
    struct job *j = s->job;
    at_progress_update(&j->cli->progress, j->done + done * s->count, j->total, NULL);
    return !at_interrupted();
}

// How many pictures from `first` on one call can make: of equal settings, and not too many to hold.
static int run_length(const struct job *j, int first, int width, int height)
{
    const struct at_picture_note *a = &j->pictures[first];
    int most = (int)fmin(256, fmax(1, PIXELS_AT_ONCE / ((double)width * height))), n = 1;
    for (; n < most && first + n < j->total; n++) {
        const struct at_picture_note *b = a + n;
        if (a->steps != b->steps || a->width != b->width || a->height != b->height || a->cfg != b->cfg)
            break;
    }
    return n;
}

// Makes and saves the next pictures.
static bool draw_some(struct job *j)
{
    struct at_log *log = &j->cli->log;
    struct at_picture_note *note = &j->pictures[j->done];
    struct share share = {.job = j};
    struct at_sample_item items[256];
    struct at_sample_params p = {
        .items = items, .steps = note->steps, .cfg = note->cfg, .eta = note->eta, .width = note->width,
        .height = note->height, .batch = j->batch, .loras = j->loaded.loras, .lora_count = j->loaded.count,
        .progress = progress, .priv = &share,
    };
    int width, height;
    if (!at_sample_size(j->loaded.model, &p, &width, &height))
        return false;
    p.count = share.count = run_length(j, j->done, width, height);
    for (int i = 0; i < p.count; i++)
        items[i] = (struct at_sample_item){note[i].prompt, note[i].negative, note[i].seed};
    size_t size = (size_t)width * (size_t)height * 3;
    float *pixels = at_calloc((size_t)p.count * size, sizeof(float));
    bool ok = pixels ? at_sample(j->loaded.model, &p, pixels, NULL) : at_fail_memory(log, size * sizeof(float));
    for (int i = 0; ok && i < p.count; i++) {
        note[i].width = width;
        note[i].height = height;
        ok = save(j, &note[i], pixels + (size_t)i * size);
    }
    at_free(pixels);
    j->done += p.count;
    return ok;
}

static bool work(struct job *j)
{
    struct at_log *log = &j->cli->log;
    if (!read_prompts(j) || !at_loaded_parse(log, j->model, &j->loras, &j->loaded))
        return false;
    j->dev = at_device_choose(&j->device, log);
    j->result = at_json_create(log, false);
    if (!j->dev || !j->result || !list_pictures(j) || !at_loaded_open(j->dev, &j->loaded, log) ||
        !at_loaded_hash(&j->loaded, log) || !prepare_out(j))
        return false;
    at_json_put_str(at_json_root(j->result), "device", j->dev->name);
    at_json_put_array(at_json_root(j->result), "images");
    at_progress_begin(&j->cli->progress, "sampling", "image", j->quiet);
    while (j->done < j->total)
        if (!draw_some(j))
            return false;
    at_progress_end(&j->cli->progress);
    if (j->json)
        return at_cli_print_json(j->cli, j->result);
    if (!j->quiet)
        at_info(log, "%d image%s in %s, by %s", j->total, j->total == 1 ? "" : "s", j->out, j->dev->name);
    return true;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune sample",
        .summary = "images from prompts",
        .synopsis = "-p TEXT [-m MODEL] [-o FOLDER] [options]",
        .about = "Each picture is saved as NUMBER-SEED-PROMPT.png with all its settings in it; numbering goes on "
                 "where the folder stands. The noise of a picture depends on its seed alone.",
        .example = "  attune sample -p \"red apple\" -p \"green apple\" --count 4 --seed 7 -o apples\n"
                   "  attune sample -m stable-diffusion-v1-5 --lora run/final:0.8 -f prompts.txt -o out\n",
    };
    struct job j = {.cli = cli, .count = 1, .steps = 25, .out = "samples"};
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o)
        add_options(o, &j);
    bool ok = at_cli_parse(cli, o, argc, argv) && work(&j);
    at_json_destroy(&j.result);
    at_free(j.pictures);
    at_prompts_finish(&j.list);
    at_loaded_finish(&j.loaded);
    at_device_close(&j.dev);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_sample = {"sample", "images from prompts", run};
