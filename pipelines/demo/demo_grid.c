// SPDX-License-Identifier: Apache-2.0
#include "pipelines/demo/demo_run.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/label.h"
#include "pipelines/sample/grid.h"

#include <stdio.h>
#include <string.h>

#define PAGE_ROWS 12 // of a grid
#define LABEL 32     // characters of a column's label
#define NAMES 96     // and of a row's

// A grid in the making: its pictures and labels.
struct sheet {
    struct at_demo_run *run;
    struct at_grid grid;
    struct at_image *images;
    const struct at_image **cells;
    char (*rows)[NAMES];
    const char **row_labels;
    char (*columns)[LABEL];
    const char **column_labels;
};

static void sheet_finish(struct sheet *s)
{
    for (size_t i = 0; s->images && i < s->grid.rows * s->grid.columns; i++)
        at_image_finish(&s->images[i]);
    at_free(s->images);
    at_free(s->cells);
    at_free(s->rows);
    at_free(s->row_labels);
    at_free(s->columns);
    at_free(s->column_labels);
    at_fonts_close(&s->grid.fonts);
}

static bool sheet_init(struct sheet *s, struct at_demo_run *run, size_t rows, size_t columns)
{
    *s = (struct sheet){.run = run, .grid = {.rows = rows, .columns = columns}};
    s->images = at_calloc(rows * columns, sizeof(*s->images));
    s->cells = at_calloc(rows * columns, sizeof(*s->cells));
    s->rows = at_calloc(rows, sizeof(*s->rows));
    s->row_labels = at_calloc(rows, sizeof(*s->row_labels));
    s->columns = at_calloc(columns, sizeof(*s->columns));
    s->column_labels = at_calloc(columns, sizeof(*s->column_labels));
    s->grid.fonts = at_fonts_open(run->log, NULL);
    if (!s->images || !s->cells || !s->rows || !s->row_labels || !s->columns || !s->column_labels || !s->grid.fonts) {
        sheet_finish(s);
        return at_fail_memory(run->log, rows * columns * sizeof(*s->images));
    }
    for (size_t i = 0; i < rows * columns; i++)
        s->cells[i] = &s->images[i];
    for (size_t i = 0; i < rows; i++)
        s->row_labels[i] = s->rows[i];
    for (size_t i = 0; i < columns; i++)
        s->column_labels[i] = s->columns[i];
    s->grid.images = s->cells;
    s->grid.row_labels = s->row_labels;
    s->grid.column_labels = s->column_labels;
    return true;
}

static bool put_drawing(struct sheet *s, size_t row, size_t column, enum at_demo_model which, size_t image)
{
    size_t seeds = s->run->p.seeds;
    return at_drawings_image(&s->run->sides[which].drawings, image / seeds, image % seeds,
                             &s->images[row * s->grid.columns + column], s->run->log);
}

// The true picture, as large as the drawings.
static bool put_truth(struct sheet *s, size_t row, size_t column, const char *prompt)
{
    const struct at_drawings *d = &s->run->sides[AT_DEMO_BASE].drawings;
    const struct at_emoji *item = at_emoji_find(at_truth_names(s->run->truth), prompt);
    size_t n = (size_t)d->width * (size_t)d->width * 3;
    float *rgb = at_calloc(n, sizeof(*rgb));
    struct at_image square = {0}, *out = &s->images[row * s->grid.columns + column];
    bool ok = rgb || at_fail_memory(s->run->log, n * sizeof(*rgb));
    ok = ok && item && at_emoji_draw(s->run->log, item, &at_emoji_truth, d->width, rgb) &&
         at_image_init(s->run->log, &square, d->width, d->width, 3);
    for (size_t i = 0; ok && i < n; i++)
        square.pixels[i] = (uint8_t)(rgb[i] * 255.0f + 0.5f);
    ok = ok && at_image_resize(s->run->log, &square, d->width, d->height, out);
    at_image_finish(&square);
    at_free(rgb);
    return ok;
}

bool at_demo_strip(struct at_demo_run *run, const size_t *images, size_t count, struct at_image *out)
{
    struct sheet s;
    if (!sheet_init(&s, run, count, AT_DEMO_MODELS + 1))
        return false;
    bool ok = true;
    snprintf(s.columns[0], LABEL, "true picture");
    for (size_t i = 0; i < AT_DEMO_MODELS; i++)
        snprintf(s.columns[i + 1], LABEL, "%s", at_demo_names[i]);
    for (size_t r = 0; ok && r < count; r++) {
        const char *prompt = run->prompts[images[r] / run->p.seeds];
        snprintf(s.rows[r], NAMES, "%s", prompt);
        ok = put_truth(&s, r, 0, prompt);
        for (int m = 0; ok && m < AT_DEMO_MODELS; m++)
            ok = put_drawing(&s, r, (size_t)m + 1, (enum at_demo_model)m, images[r]);
    }
    ok = ok && at_grid_draw(run->log, &s.grid, 0, out);
    sheet_finish(&s);
    return ok;
}

// What an earlier demo with more rows left behind.
static bool remove_old(const struct at_demo_run *run)
{
    char **names;
    size_t count;
    if (!at_dir_list(run->log, run->p.out, &names, &count))
        return false;
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        unsigned page;
        char end[8];
        if (sscanf(names[i], "grid-%3u.%4s", &page, end) != 2 || strcmp(end, "png") != 0)
            continue;
        char *path = at_demo_path(run, names[i]);
        ok = path && at_path_remove(run->log, path);
        at_free(path);
    }
    at_names_free(&names, count);
    return ok;
}

bool at_demo_grids(struct at_demo_run *run)
{
    struct sheet s;
    size_t rows = run->p.grid_rows, seeds = run->p.seeds < 4 ? run->p.seeds : 4;
    if (!remove_old(run) || !sheet_init(&s, run, rows, 2 * seeds))
        return false;
    s.grid.title = "base and tuned, names held out of the pairs, equal noise side by side";
    s.grid.max_rows = PAGE_ROWS;
    bool ok = true;
    for (size_t k = 0; k < 2 * seeds; k++)
        snprintf(s.columns[k], LABEL, "%s, seed %zu", at_demo_names[k % 2], k / 2 + 1);
    for (size_t r = 0; ok && r < rows; r++) {
        size_t prompt = r * run->p.prompts / rows;
        snprintf(s.rows[r], NAMES, "%s", run->prompts[prompt]);
        for (size_t k = 0; ok && k < 2 * seeds; k++)
            ok = put_drawing(&s, r, k, k % 2 ? AT_DEMO_TUNED : AT_DEMO_BASE, prompt * run->p.seeds + k / 2);
    }
    ok = ok && at_grid_write(run->log, &s.grid, run->p.out, "grid", NULL);
    sheet_finish(&s);
    return ok;
}
