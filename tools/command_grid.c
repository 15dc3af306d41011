// SPDX-License-Identifier: Apache-2.0
// attune grid: several models on the same prompts and seeds, side by side.
#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/label.h"
#include "pipelines/eval/report.h"
#include "pipelines/sample/grid.h"
#include "pipelines/sample/sample.h"
#include "tools/device.h"
#include "tools/request.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MODELS 16

struct job {
    struct at_cli *cli;
    struct at_request request;
    struct at_device_choice device;
    struct at_source_options reading;
    struct at_texts models;
    const char *out, *title;
    int scale, max_side;
    bool smooth, force;

    struct at_device *dev;
    struct at_loaded loaded[MODELS];
    char *names[MODELS];
    int total; // of one model
    size_t rows, columns;
    struct at_image *images; // rows x columns
    int model;               // that is at work
};

static void add_options(struct at_options *o, struct job *j)
{
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_LIST, &j->models, "MODEL[+FILE[:SCALE]]",
         "a column: a model folder, a .safetensors checkpoint, or the word embedded, and its adapters", .required = true},
        {"out", 'o', AT_OPTION_TEXT, &j->out, "FOLDER", "for grid-001.png ... and grid.html"},
        {"force", 0, AT_OPTION_FLAG, &j->force, NULL, "replace a grid that is there", .here = true},
        {"title", 0, AT_OPTION_TEXT, &j->title, "TEXT", "of the pages", .zero = "none"},
        {"scale", 0, AT_OPTION_INT, &j->scale, "N", "enlarge pictures so many times",
         .zero = "cells of at least 128 pixels", .min = 0, .max = 64},
        {"smooth", 0, AT_OPTION_FLAG, &j->smooth, NULL, "enlarge smoothly instead of in squares"},
        {"max-side", 0, AT_OPTION_INT, &j->max_side, "N", "largest side of a page in pixels", .min = 256,
         .max = 32768},
        {0},
    };
    at_options_add(o, rows);
    at_request_options(o, &j->request);
    at_reading_options(o, &j->reading);
    at_device_options(o, &j->device);
}

// The number of a page by its file's name, 0 for grid.html; -1: no file of a grid.
static long page_number(const char *name)
{
    const char *end = name + 5;
    if (strncmp(name, "grid-", 5) != 0)
        return strcmp(name, "grid.html") == 0 ? 0 : -1;
    while (*end >= '0' && *end <= '9')
        end++;
    return end - name >= 8 && strcmp(end, ".png") == 0 ? strtol(name + 5, NULL, 10) : -1;
}

// Files of an earlier grid: in the way, or removed where their number is above `kept`, as one too many would pass for a
// page of the new grid.
static bool old_pages(struct job *j, bool remove, size_t kept)
{
    struct at_log *log = &j->cli->log;
    char **names;
    size_t count;
    if (!at_dir_list(log, j->out, &names, &count))
        return false;
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        long number = page_number(names[i]);
        if (number < 0 || (remove && (size_t)number <= kept))
            continue;
        char *path = at_path_join(j->out, names[i]);
        ok = path || at_fail_memory(log, strlen(names[i]));
        if (ok)
            ok = remove ? at_path_remove(log, path)
                        : at_fail(log, AT_ERROR_INPUT, "%s is there already; --force replaces the grid", path);
        at_free(path);
    }
    at_names_free(&names, count);
    return ok;
}

static bool prepare(struct job *j, const struct at_usage *usage)
{
    struct at_log *log = &j->cli->log;
    if (!at_request_text(log, "title", j->title) || !at_request_read(&j->request, usage, log))
        return false;
    if (j->models.count > MODELS)
        return at_fail(log, AT_ERROR_USAGE, "%zu models are more than the %d of one grid", j->models.count, MODELS);
    for (size_t i = 0; i < j->models.count; i++) {
        struct at_loaded *l = &j->loaded[i];
        if (!at_loaded_parse(log, j->models.items[i], NULL, l))
            return false;
        l->reading = &j->reading;
        if (!(j->names[i] = at_loaded_label(l)) || !at_loaded_check(l, log))
            return false;
    }
    j->rows = j->request.prompts.count;
    j->columns = j->models.count * (size_t)j->request.count;
    j->images = at_calloc(j->rows * j->columns, sizeof(*j->images));
    return j->images && at_dir_make(log, j->out) && (j->force || old_pages(j, false, 0)) &&
           (j->dev = at_device_choose(&j->device, log));
}

static bool keep(void *priv, int i, const struct at_picture_note *note, const float *pixels)
{
    struct job *j = priv;
    int count = j->request.count;
    size_t row = (size_t)(i / count), column = (size_t)(j->model * count + i % count);
    return at_sample_image(&j->cli->log, pixels, note->width, note->height, &j->images[row * j->columns + column]);
}

// All pictures of one model, which is open only meanwhile.
static bool draw_model(struct job *j)
{
    struct at_log *log = &j->cli->log;
    struct at_loaded *l = &j->loaded[j->model];
    int total = 0, models = (int)j->models.count;
    struct at_picture_note *notes = NULL;
    bool ok = at_loaded_open(j->dev, l, log) && at_loaded_hash(l, log) &&
              (notes = at_request_notes(&j->request, l, j->dev, &total, log));
    struct at_draw_params draw = {.request = &j->request, .loaded = l, .notes = notes, .total = total,
                                  .before = j->model * total, .all = models * total, .take = keep, .priv = j};
    ok = ok && at_draw(j->cli, &draw);
    at_loaded_close(l);
    at_free(notes);
    return ok;
}

static void report_settings(const struct job *j, struct at_report *report)
{
    const char *cells[MODELS * 3];
    char hashes[MODELS][11];
    for (size_t i = 0; i < j->models.count; i++) {
        snprintf(hashes[i], sizeof(hashes[i]), "%.10s", j->loaded[i].sha256);
        cells[3 * i] = j->names[i];
        cells[3 * i + 1] = j->models.items[i];
        cells[3 * i + 2] = hashes[i];
    }
    char steps[64] = "each model's own number of";
    if (j->request.steps)
        snprintf(steps, sizeof(steps), "%d", j->request.steps);
    at_report_paragraph(report, "%zu prompts, %d picture(s) a prompt and model from seed %" PRIu64
                        ", %s steps of %s, %s; made by " AT_VERSION_TEXT " on %s.", j->rows, j->request.count,
                        j->request.seed, steps,
                        j->request.sampler ? at_sampler_names[j->request.sampler] : "each model's own sampler",
                        j->request.cfg != 0 ? "one guidance scale for all" : "each model's own guidance scale",
                        j->dev->name);
    if (j->request.cfg != 0)
        at_report_paragraph(report, "Guidance scale %g.", j->request.cfg);
    if (j->request.cfg_rescale > 0)
        at_report_paragraph(report, "Guidance is rescaled by %g.", j->request.cfg_rescale);
    if (j->request.rng == AT_RNG_TORCH)
        at_report_paragraph(report, "Seeds are torch's: diffusers draws the same noise.");
    at_report_table(report, "Models", (const char *[]){"column", "model", "weights (SHA-256)"}, 3, cells,
                    j->models.count);
}

// Every page as a PNG and in the report.
static bool write_pages(struct job *j, const struct at_grid *grid, struct at_report *report, size_t *pages)
{
    struct at_log *log = &j->cli->log;
    *pages = at_grid_pages(log, grid);
    bool ok = *pages > 0;
    for (size_t i = 0; ok && i < *pages; i++) {
        struct at_image page = {0};
        char *name = at_strf("grid-%03zu.png", i + 1), *path = name ? at_path_join(j->out, name) : NULL;
        ok = path && at_grid_draw(log, grid, i, &page) && at_png_write(log, path, &page, NULL, 0);
        if (ok)
            at_report_image(report, &page, name, 0);
        at_image_finish(&page);
        at_free(name);
        at_free(path);
    }
    return ok;
}

static bool write_grid(struct job *j, const struct at_grid *grid)
{
    struct at_log *log = &j->cli->log;
    char *path = at_path_join(j->out, "grid.html");
    struct at_report *report = path ? at_report_begin(log, path, j->title ? j->title : "Grid") : NULL;
    size_t pages = 0;
    bool ok = report != NULL;
    if (ok)
        report_settings(j, report);
    // What was there is replaced file by file, and nothing of it removed before the new grid is whole.
    ok = ok && write_pages(j, grid, report, &pages) && at_report_end(&report) && old_pages(j, true, pages);
    at_report_cancel(&report);
    if (ok && !j->request.quiet)
        at_info(log, "%zu page%s of %zu x %zu pictures and grid.html in %s", pages, pages == 1 ? "" : "s", j->rows,
                j->columns, j->out);
    at_free(path);
    return ok;
}

// Gathers labels and cells.
static bool assemble(struct job *j)
{
    struct at_log *log = &j->cli->log;
    const struct at_image **cells = at_calloc(j->rows * j->columns, sizeof(*cells));
    const char **prompts = at_calloc(j->rows, sizeof(*prompts));
    char **heads = at_calloc(j->columns, sizeof(*heads));
    struct at_fonts *fonts = at_fonts_open(log, NULL);
    bool ok = cells && prompts && heads && fonts;
    for (size_t i = 0; ok && i < j->rows * j->columns; i++)
        cells[i] = &j->images[i];
    for (size_t i = 0; ok && i < j->rows; i++)
        prompts[i] = j->request.prompts.items[i].text;
    for (size_t i = 0; ok && i < j->columns; i++) {
        size_t count = (size_t)j->request.count;
        uint64_t seed = j->request.seed + i % count;
        heads[i] = count > 1 ? at_strf("%s, seed %" PRIu64, j->names[i / count], seed) : at_strdup(j->names[i]);
        ok = heads[i] != NULL;
    }
    struct at_grid grid = {
        .rows = j->rows, .columns = j->columns, .images = cells, .fonts = fonts, .row_labels = prompts,
        .column_labels = (const char *const *)heads, .title = j->title, .scale = j->scale, .smooth = j->smooth,
        .max_side = j->max_side,
    };
    ok = ok && write_grid(j, &grid);
    for (size_t i = 0; heads && i < j->columns; i++)
        at_free(heads[i]);
    at_fonts_close(&fonts);
    at_free(heads);
    at_free(prompts);
    at_free(cells);
    return ok;
}

static bool work(struct job *j)
{
    at_progress_begin(&j->cli->progress, "sampling", "image", j->request.quiet);
    for (j->model = 0; j->model < (int)j->models.count; j->model++)
        if (!draw_model(j))
            return false;
    at_progress_end(&j->cli->progress);
    return assemble(j);
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune grid",
        .summary = "models side by side on the same prompts and seeds",
        .synopsis = "-m MODEL -m MODEL ... -p TEXT ... [-o FOLDER] [options]",
        .about = "A row a prompt, a column a model and seed, in labelled pages, and one HTML file that holds them all.",
        .example = "  attune grid -m embedded -m embedded+runs/warm -f prompts.txt --count 2 -o grid\n",
    };
    struct job j = {.cli = cli, .request = AT_REQUEST_DEFAULTS, .out = "grid", .max_side = 8192};
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o)
        add_options(o, &j);
    bool ok = at_cli_parse(cli, o, argc, argv) && prepare(&j, &usage) && work(&j);
    for (size_t i = 0; j.images && i < j.rows * j.columns; i++)
        at_image_finish(&j.images[i]);
    for (int i = 0; i < MODELS; i++) {
        at_loaded_finish(&j.loaded[i]);
        at_free(j.names[i]);
    }
    at_free(j.images);
    at_request_finish(&j.request);
    at_device_close(&j.dev);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_grid = {"grid", "models side by side, in labelled pages", run};
