// SPDX-License-Identifier: Apache-2.0
#include "tools/invert_files.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/label.h"
#include "datasets/latents.h"
#include "pipelines/sample/grid.h"
#include "tools/picture_file.h"

#include <math.h>
#include <string.h>

#define LATENTS "latents.safetensors"
#define REPORT "invert.json"
#define COLUMNS 3

// How the noise came about.
static void put_settings(const struct at_invert_files *f, struct at_json root)
{
    const struct at_sample_params *s = &f->params->sample;
    const struct at_schedule_config *c = &f->loaded->model->schedule->config;
    struct at_json prompts = at_json_put_array(root, "prompts");
    for (int i = 0; i < s->count; i++)
        at_json_put_str(prompts, NULL, s->items[i].prompt);
    if (s->items[0].negative)
        at_json_put_str(root, "negative", s->items[0].negative);
    at_json_put_str(root, "sampler", at_sampler_names[AT_SAMPLER_DDIM]);
    at_json_put_int(root, "steps", s->steps);
    at_json_put_num(root, "cfg", s->cfg);
    at_json_put_num(root, "cfg_rescale", s->cfg_rescale);
    at_json_put_int(root, "fixed_point", f->params->rounds);
    at_json_put_num(root, "tolerance", f->params->tolerance);
    at_json_put_int(root, "width", f->result->width);
    at_json_put_int(root, "height", f->result->height);
    at_json_put_str(root, "prediction_type", (const char *const[]){"epsilon", "v_prediction", "sample"}[c->prediction]);
    at_json_put_str(root, "timestep_spacing", (const char *const[]){"leading", "trailing", "linspace"}[c->spacing]);
    at_json_put_int(root, "steps_offset", c->steps_offset);
    struct at_json model = at_json_put_object(root, "model");
    at_json_put_str(model, "path", f->loaded->path ? f->loaded->path : "embedded");
    at_json_put_str(model, "unet_sha256", f->loaded->sha256);
    struct at_json loras = at_json_put_array(root, "loras");
    for (int i = 0; i < f->loaded->count; i++) {
        struct at_json lora = at_json_put_object(loras, NULL);
        at_json_put_str(lora, "path", f->loaded->files[i].path);
        at_json_put_str(lora, "sha256", f->loaded->files[i].sha256);
        at_json_put_float(lora, "scale", f->loaded->files[i].scale);
    }
    struct at_json device = at_json_put_object(root, "device");
    at_json_put_str(device, "kind", f->dev->kind);
    at_json_put_str(device, "name", f->dev->name);
}

static void put_trip(struct at_json into, const struct at_round_trip *t)
{
    at_json_put_num(into, "latent_error", t->latent_error);
    at_json_put_num(into, "psnr", t->psnr);
    at_json_put_num(into, "psnr_of_autoencoder", t->psnr_of_autoencoder);
    at_json_put_num(into, "psnr_bound", t->psnr_bound);
    at_json_put_num(into, "residual_before", t->residual_before);
    at_json_put_num(into, "residual", t->residual);
    at_json_put_num(into, "rounds", t->rounds);
}

struct at_round_trip at_invert_mean(const struct at_inverted *r)
{
    struct at_round_trip mean = {0};
    double n = r->count;
    for (int i = 0; i < r->count; i++) {
        const struct at_round_trip *t = &r->trip[i];
        mean.latent_error += t->latent_error / n;
        mean.psnr += t->psnr / n;
        mean.psnr_of_autoencoder += t->psnr_of_autoencoder / n;
        mean.psnr_bound += t->psnr_bound / n;
        mean.residual_before += t->residual_before / n;
        mean.residual += t->residual / n;
        mean.rounds += t->rounds / n;
    }
    return mean;
}

struct at_json_doc *at_invert_json(const struct at_invert_files *f, struct at_log *log)
{
    struct at_json_doc *doc = at_json_create(log, false);
    if (!doc)
        return NULL;
    struct at_json root = at_json_root(doc);
    struct at_round_trip mean = at_invert_mean(f->result);
    at_json_put_str(root, "version", AT_VERSION);
    put_settings(f, root);
    put_trip(at_json_put_object(root, "mean"), &mean);
    struct at_json images = at_json_put_array(root, "images");
    for (int i = 0; i < f->result->count; i++) {
        struct at_json image = at_json_put_object(images, NULL);
        at_json_put_str(image, "path", f->images->items[i]);
        at_json_put_str(image, "prompt", f->params->sample.items[i].prompt);
        put_trip(image, &f->result->trip[i]);
    }
    return doc;
}

bool at_invert_may_write(const char *dir, bool force, struct at_log *log)
{
    char **names = NULL;
    size_t count = 0;
    bool found = false;
    if (at_file_exists(dir))
        return at_fail(log, AT_ERROR_INPUT, "--out %s: is a file; give a folder", dir);
    if (at_dir_exists(dir) && !at_dir_list(log, dir, &names, &count))
        return false;
    for (size_t i = 0; i < count; i++)
        found = found || strcmp(names[i], REPORT) == 0;
    at_names_free(&names, count);
    if (count && !found)
        return at_fail(log, AT_ERROR_INPUT, "--out %s: holds other files; give a folder that is new or empty", dir);
    if (count && !force)
        return at_fail(log, AT_ERROR_INPUT, "--out %s: holds an inversion already; --force replaces it", dir);
    char *above = at_path_dir(dir);
    bool ok = above && at_dir_make(log, above) && at_dir_writable(log, dir);
    at_free(above);
    return ok;
}

static bool write_latents(const struct at_invert_files *f, const char *dir, struct at_log *log)
{
    const struct at_inverted *r = f->result;
    struct at_latents l = {.count = r->count, .height = r->h, .width = r->w, .channels = r->channels, .values = r->noise};
    char *path = at_path_join(dir, LATENTS);
    bool ok = path && (l.about = at_json_create(log, false));
    if (ok) {
        struct at_json root = at_json_root(l.about);
        at_json_put_str(root, "version", AT_VERSION);
        at_json_put_str(root, "made_by", "attune invert");
        put_settings(f, root);
        struct at_json images = at_json_put_array(root, "images");
        for (int i = 0; i < r->count; i++)
            at_json_put_str(images, NULL, at_path_name(f->images->items[i]));
        ok = at_latents_write(log, path, &l);
    }
    at_json_destroy(&l.about);
    at_free(path);
    return ok;
}

static bool write_drawn(const struct at_invert_files *f, const char *dir, const struct at_image *drawn, struct at_log *log)
{
    bool ok = true;
    for (int i = 0; ok && i < f->result->count; i++) {
        const struct at_sample_params *s = &f->params->sample;
        struct at_picture_note note = {
            .prompt = s->items[i].prompt, .negative = s->items[i].negative, .steps = s->steps, .width = f->result->width,
            .height = f->result->height, .sampler = AT_SAMPLER_DDIM, .cfg = s->cfg, .cfg_rescale = s->cfg_rescale,
            .latents = LATENTS, .latent = i, .loaded = f->loaded, .dev = f->dev,
        };
        char *name = at_strf("reconstruction-%03d.png", i + 1), *path = name ? at_path_join(dir, name) : NULL;
        ok = path && at_picture_save(log, path, &drawn[(size_t)i * COLUMNS + 2], &note);
        at_free(name);
        at_free(path);
    }
    return ok;
}

// Pages of input, autoencoder alone, drawn again.
static bool write_pages(const struct at_invert_files *f, const char *dir, const struct at_image *images,
                        struct at_log *log)
{
    size_t rows = (size_t)f->result->count;
    const struct at_image **cells = at_calloc(rows * COLUMNS, sizeof(*cells));
    char **labels = at_calloc(rows, sizeof(*labels));
    struct at_fonts *fonts = at_fonts_open(log, NULL);
    bool ok = (cells && labels && fonts) || at_fail_memory(log, rows * sizeof(*cells));
    for (size_t i = 0; ok && i < rows * COLUMNS; i++)
        cells[i] = &images[i];
    for (size_t i = 0; ok && i < rows; i++) {
        const struct at_round_trip *t = &f->result->trip[i];
        labels[i] = at_strf("%s\n%s\n%.1f dB of %.1f", at_path_name(f->images->items[i]),
                            f->params->sample.items[i].prompt, t->psnr, t->psnr_bound);
        ok = labels[i] || at_fail_memory(log, rows);
    }
    struct at_grid grid = {
        .rows = rows, .columns = COLUMNS, .images = cells, .fonts = fonts, .row_labels = (const char *const *)labels,
        .column_labels = (const char *const[]){"input", "autoencoder", "inverted and drawn again"},
    };
    ok = ok && at_grid_write(log, &grid, dir, "side-by-side", NULL);
    for (size_t i = 0; labels && i < rows; i++)
        at_free(labels[i]);
    at_fonts_close(&fonts);
    at_free(labels);
    at_free(cells);
    return ok;
}

static bool write_pictures(const struct at_invert_files *f, const char *dir, struct at_log *log)
{
    const struct at_inverted *r = f->result;
    size_t n = (size_t)r->count * COLUMNS, size = (size_t)r->width * (size_t)r->height * 3;
    struct at_image *images = at_calloc(n, sizeof(*images));
    const float *from[COLUMNS] = {f->params->pixels, r->decoded, r->drawn};
    bool ok = images || at_fail_memory(log, n * sizeof(*images));
    for (size_t i = 0; ok && i < n; i++)
        ok = at_sample_image(log, from[i % COLUMNS] + i / COLUMNS * size, r->width, r->height, &images[i]);
    ok = ok && write_drawn(f, dir, images, log) && write_pages(f, dir, images, log);
    for (size_t i = 0; images && i < n; i++)
        at_image_finish(&images[i]);
    at_free(images);
    return ok;
}

bool at_invert_write(const struct at_invert_files *f, struct at_json_doc *json, struct at_log *log)
{
    char *dir = at_dir_replace_begin(log, f->dir), *report = dir ? at_path_join(dir, REPORT) : NULL;
    bool ok = report && write_latents(f, dir, log) && write_pictures(f, dir, log) && at_json_save(json, report, true) &&
              at_dir_replace_commit(log, f->dir);
    if (!ok && dir)
        (void)!at_path_remove(log, dir);
    at_free(report);
    at_free(dir);
    return ok;
}
