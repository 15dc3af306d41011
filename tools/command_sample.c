// SPDX-License-Identifier: Apache-2.0
// attune sample: images from prompts.
#include "core/base/alloc.h"
#include "core/io/file.h"
#include "pipelines/sample/sample.h"
#include "tools/latents_option.h"
#include "tools/plan.h"
#include "tools/preview_option.h"
#include "tools/request.h"

#include <string.h>

struct job {
    struct at_cli *cli;
    struct at_request request;
    struct at_latents_option latents;
    struct at_device_choice device;
    struct at_source_options reading;
    const char *model, *out;
    struct at_preview_choice preview;
    struct at_texts loras;
    bool force, json;

    struct at_device *dev;
    struct at_loaded loaded;
    struct at_picture_note *notes;
    int total;
    int64_t number; // of the next file
    struct at_json_doc *result;
};

static void add_options(struct at_options *o, struct job *j)
{
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_TEXT, &j->model, "MODEL",
         "model folder in the layout of diffusers, or a checkpoint in one .safetensors file; MODEL+FILE adds an adapter", .zero = "the embedded model"},
        {"lora", 0, AT_OPTION_LIST, &j->loras, "FILE[:SCALE]", "adapter, and its strength"},
        {"out", 'o', AT_OPTION_TEXT, &j->out, "PATH", "folder, or name of the one .png"},
        {"force", 0, AT_OPTION_FLAG, &j->force, NULL, "replace the .png if it is there", .here = true},
        {"json", 0, AT_OPTION_FLAG, &j->json, NULL, "print what was made as JSON", .here = true},
        {0},
    };
    at_options_add(o, rows);
    at_request_options(o, &j->request);
    at_latents_options(o, &j->latents);
    at_preview_options(o, &j->preview);
    at_reading_options(o, &j->reading);
    at_device_options(o, &j->device);
}

static bool one_file(const char *out)
{
    size_t n = strlen(out);
    return n > 4 && strcasecmp(out + n - 4, ".png") == 0 && !at_dir_exists(out);
}

static bool prepare_out(struct job *j)
{
    static const char *const others[] = {".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"};
    struct at_log *log = &j->cli->log;
    const char *dot = strrchr(j->out, '.');
    for (size_t i = 0; dot && i < sizeof(others) / sizeof(*others); i++)
        if (strcasecmp(dot, others[i]) == 0 && !at_dir_exists(j->out))
            return at_fail(log, AT_ERROR_USAGE, "--out %s: pictures are PNG; name it %.*s.png, or give a folder", j->out,
                           (int)(dot - j->out), j->out);
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

static bool save(void *priv, int i, const struct at_picture_note *note, const float *pixels)
{
    struct job *j = priv;
    struct at_log *log = &j->cli->log;
    struct at_image image;
    (void)i;
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

// Of a plan: there is no picture.
static bool pass(void *priv, int i, const struct at_picture_note *note, const float *pixels)
{
    (void)priv, (void)i, (void)note, (void)pixels;
    return true;
}

// All that can be wrong is looked at before the first picture.
static bool prepare(struct job *j, const struct at_usage *usage, const struct at_options *o)
{
    struct at_log *log = &j->cli->log;
    if (!at_preview_check(&j->preview, log) || !at_latents_apply(&j->latents, o, &j->request, log) ||
        !at_request_read(&j->request, usage, log) || !at_loaded_parse(log, j->model, &j->loras, &j->loaded))
        return false;
    j->loaded.reading = &j->reading;
    return (j->dev = at_cli_device(j->cli, &j->device)) &&
           (j->result = at_json_create(log, false)) && at_loaded_open(j->dev, &j->loaded, log) &&
           (j->notes = at_request_notes(&j->request, &j->loaded, j->dev, &j->total, log)) &&
           at_preview_choose(&j->preview, j->loaded.model, j->out, one_file(j->out), &j->number) &&
           (j->cli->planning || (at_loaded_hash(&j->loaded, log) && prepare_out(j)));
}

static bool work(struct job *j)
{
    if (j->cli->planning)
        return at_draw(j->cli, &(struct at_draw_params){.request = &j->request, .loaded = &j->loaded, .notes = j->notes,
                                                        .total = j->total, .all = j->total, .take = pass,
                                                        .preview = j->preview.preview}) &&
               at_plan_print_sampling(j->cli, j->dev);
    at_json_put_str(at_json_root(j->result), "device", j->dev->name);
    at_json_put_array(at_json_root(j->result), "images");
    at_progress_begin(&j->cli->progress, "sampling", "image", j->request.quiet);
    struct at_draw_params draw = {.request = &j->request, .loaded = &j->loaded, .notes = j->notes, .total = j->total,
                                  .all = j->total, .take = save, .priv = j, .preview = j->preview.preview};
    bool ok = at_draw(j->cli, &draw);
    at_progress_end(&j->cli->progress);
    if (ok) {
        at_device_put_memory(at_json_root(j->result), j->dev);
        ok = at_json_complete(j->result);
    }
    if (ok && j->json)
        return at_cli_print_json(j->cli, j->result);
    if (ok && !j->request.quiet)
        at_info(&j->cli->log, "%d image%s in %s, by %s", j->total, j->total == 1 ? "" : "s", j->out, j->dev->name);
    return ok;
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
                   "  attune sample -m sdxl-base -p \"a red kite\" --original-size 2048x2048 --clip-skip 1 -o out\n"
                   "  attune sample -m stable-diffusion-v1-5 --lora runs/warm:0.8 -f prompts.txt -o out\n"
                   "  attune sample -m v2-1_768.safetensors --tokenizer clip --prediction v_prediction -p cherries\n"
                   "  attune sample -m stable-diffusion-2-1 --variant bf16 --allow-unexpected -p cherries\n"
                   "  attune sample -m sdxl-base -p \"a red kite\" --vae-tile 512 --preview 5 --preview-vae taesdxl --preview-keep\n"
                   "  attune sample -m sdxl-base -p \"a red kite\" --memory-limit 6G --json -o kites\n"
                   "  attune sample -p cherries --device vulkan --activations f16 --guard\n"
                   "  attune sample -p cherries --rng torch --seed 42 --cfg 9 --cfg-rescale 0.7\n",
    };
    struct job j = {.cli = cli, .request = AT_REQUEST_DEFAULTS, .out = "samples"};
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o)
        add_options(o, &j);
    bool ok = at_cli_parse(cli, o, argc, argv) && prepare(&j, &usage, o) && work(&j);
    at_preview_finish(&j.preview, ok);
    at_json_destroy(&j.result);
    at_free(j.notes);
    at_request_finish(&j.request);
    at_latents_option_finish(&j.latents);
    at_loaded_finish(&j.loaded);
    at_device_close(&j.dev);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_sample = {"sample", "images from prompts", run};
