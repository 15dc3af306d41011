// SPDX-License-Identifier: Apache-2.0
#include "pipelines/sample/grid.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/image.h"
#include "core/io/label.h"

#include <stdio.h>
#include <string.h>

#define GAP 6     // between cells
#define MARGIN 10 // around the page
#define MAX_ROW_LINES 6
#define MAX_COLUMN_LINES 3
#define MIN_CELL 128

// Where things stand on a page.
struct frame {
    int cell_width, cell_height; // of an enlarged picture
    int left, top;               // of the first cell
    int head_top, head_height;   // of the column labels
    int label_width, label_lines, label_size, title_size, scale, max_side;
    size_t rows, columns; // on a full page
};

static const struct at_image *first_image(const struct at_grid *g)
{
    for (size_t i = 0; i < g->rows * g->columns; i++)
        if (g->images[i])
            return g->images[i];
    return NULL;
}

static bool check_sizes(struct at_log *log, const struct at_grid *g, const struct at_image *first)
{
    for (size_t i = 0; i < g->rows * g->columns; i++) {
        const struct at_image *image = g->images[i];
        if (image && (image->width != first->width || image->height != first->height))
            return at_fail(log, AT_ERROR_INPUT,
                           "grid: row %zu, column %zu has %d x %d pixels, the first picture %d x "
                           "%d; a grid needs pictures of one size",
                           i / g->columns + 1, i % g->columns + 1, image->width, image->height, first->width,
                           first->height);
    }
    return true;
}

static size_t fitting(int room, int cell, size_t most)
{
    long n = ((long)room + GAP) / (cell + GAP);
    return n < 1 ? 0 : (size_t)n < most ? (size_t)n : most;
}

// The largest width and height that any of the labels takes.
static bool measure(const struct at_grid *g, const char *const *labels, size_t count, struct at_label label,
                    int most[2])
{
    most[0] = most[1] = 0;
    for (size_t i = 0; labels && g->fonts && i < count; i++) {
        int w, h;
        label.text = labels[i] ? labels[i] : "";
        if (!at_label_measure(g->fonts, &label, &w, &h))
            return false;
        most[0] = w > most[0] ? w : most[0];
        most[1] = h > most[1] ? h : most[1];
    }
    most[0] = most[0] < label.width ? most[0] : label.width;
    return true;
}

// How much room title and labels take.
static bool measure_labels(const struct at_grid *g, struct frame *f)
{
    int side[2], head[2], title[2];
    f->label_lines = f->cell_height / ((135 * f->label_size + 99) / 100);
    f->label_lines = f->label_lines < 1 ? 1 : f->label_lines < MAX_ROW_LINES ? f->label_lines : MAX_ROW_LINES;
    struct at_label label = {.size = f->label_size, .width = 13 * f->label_size, .max_lines = f->label_lines};
    if (!measure(g, g->row_labels, g->rows, label, side))
        return false;
    label.width = f->cell_width;
    label.max_lines = MAX_COLUMN_LINES;
    if (!measure(g, g->column_labels, g->columns, label, head))
        return false;
    label.size = f->title_size;
    label.width = f->max_side;
    label.max_lines = 1;
    if (!measure(g, &g->title, g->title ? 1 : 0, label, title))
        return false;
    f->label_width = side[0];
    f->head_height = head[1];
    f->left = MARGIN + (side[0] ? side[0] + 2 * GAP : 0);
    f->head_top = MARGIN + (title[1] ? title[1] + GAP : 0);
    f->top = f->head_top + (head[1] ? head[1] + GAP : 0);
    return true;
}

// Fills the frame from the grid alone, so that every page has the same one.
static bool make_frame(struct at_log *log, const struct at_grid *g, struct frame *f)
{
    const struct at_image *first = g->rows && g->columns ? first_image(g) : NULL;
    if (!first)
        return at_fail(log, AT_ERROR_INPUT, "grid: no picture to show");
    if (!check_sizes(log, g, first))
        return false;
    int small = first->width < first->height ? first->width : first->height;
    *f = (struct frame){.scale = g->scale > 0 ? g->scale : small < MIN_CELL ? (MIN_CELL + small - 1) / small : 1};
    f->label_size = g->label_size > 0 ? g->label_size : 14;
    f->title_size = f->label_size + f->label_size / 4;
    f->max_side = g->max_side > 0 ? g->max_side : 8192;
    if (first->width > f->max_side / f->scale || first->height > f->max_side / f->scale)
        return at_fail(log, AT_ERROR_USAGE,
                       "grid: one picture of %d x %d pixels, drawn %d times larger, exceeds a page "
                       "of %d; raise the page size or lower the scale",
                       first->width, first->height, f->scale, f->max_side);
    f->cell_width = first->width * f->scale;
    f->cell_height = first->height * f->scale;
    if (!measure_labels(g, f))
        return false;
    f->columns = fitting(f->max_side - f->left - MARGIN, f->cell_width, g->columns);
    f->rows = fitting(f->max_side - f->top - MARGIN, f->cell_height, g->rows);
    if (g->max_rows > 0 && f->rows > g->max_rows)
        f->rows = g->max_rows;
    if (f->columns == 0 || f->rows == 0)
        return at_fail(log, AT_ERROR_USAGE,
                       "grid: a picture of %d x %d pixels and its labels exceed a page of %d; raise "
                       "the page size or lower the scale",
                       f->cell_width, f->cell_height, f->max_side);
    return true;
}

static size_t count_pages(const struct at_grid *g, const struct frame *f)
{
    return ((g->rows + f->rows - 1) / f->rows) * ((g->columns + f->columns - 1) / f->columns);
}

size_t at_grid_pages(struct at_log *log, const struct at_grid *grid)
{
    struct frame f;
    return make_frame(log, grid, &f) ? count_pages(grid, &f) : 0;
}

static const uint8_t *pixel(const struct at_image *image, int x, int y)
{
    return image->pixels + ((size_t)y * (size_t)image->width + (size_t)x) * (size_t)image->channels;
}

// Copies a picture enlarged by whole squares; grey is spread, alpha laid on white.
static void paste(struct at_image *page, const struct at_image *image, int left, int top, int scale)
{
    for (int y = 0; y < image->height * scale; y++)
        for (int x = 0; x < image->width * scale; x++) {
            const uint8_t *from = pixel(image, x / scale, y / scale);
            uint8_t *to = page->pixels + 3 * ((size_t)(top + y) * (size_t)page->width + (size_t)(left + x));
            for (int c = 0; c < 3; c++) {
                int v = image->channels == 1 ? from[0] : from[c];
                to[c] = (uint8_t)(image->channels == 4 ? (v * from[3] + 255 * (255 - from[3]) + 127) / 255 : v);
            }
        }
}

static bool paste_cell(struct at_log *log, const struct at_grid *g, const struct frame *f, const struct at_image *image,
                       struct at_image *page, int left, int top)
{
    if (!g->smooth || f->scale == 1) {
        paste(page, image, left, top, f->scale);
        return true;
    }
    struct at_image large = {0};
    if (!at_image_resize(log, image, f->cell_width, f->cell_height, &large))
        return false;
    paste(page, &large, left, top, 1);
    at_image_finish(&large);
    return true;
}

// Draws a label in a box, standing in the middle of its height or at its foot.
static bool put_label(struct at_fonts *fonts, struct at_image *page, const struct at_label *label, const int box[2],
                      int height, bool foot)
{
    int w, h;
    if (!fonts || !label->text || !*label->text)
        return true;
    if (!at_label_measure(fonts, label, &w, &h))
        return false;
    int spare = height > h ? height - h : 0;
    return at_label_draw(fonts, label, page, box[0], box[1] + (foot ? spare : spare / 2));
}

// The cells that a page shows.
struct part {
    size_t row, rows, column, columns;
};

static bool put_labels(const struct at_grid *g, const struct frame *f, const struct part *p, struct at_image *page)
{
    struct at_label label = {.size = f->label_size, .color = {32, 36, 42}};
    if (g->title) {
        struct at_label title = label;
        title.text = g->title;
        title.size = f->title_size;
        title.width = page->width - 2 * MARGIN;
        title.max_lines = 1;
        if (!put_label(g->fonts, page, &title, (const int[2]){MARGIN, MARGIN}, 0, false))
            return false;
    }
    label.width = f->cell_width;
    label.max_lines = MAX_COLUMN_LINES;
    label.align = AT_LABEL_CENTRE;
    for (size_t c = 0; g->column_labels && c < p->columns; c++) {
        label.text = g->column_labels[p->column + c];
        const int at[2] = {f->left + (int)c * (f->cell_width + GAP), f->head_top};
        if (!put_label(g->fonts, page, &label, at, f->head_height, true))
            return false;
    }
    label.width = f->label_width;
    label.align = AT_LABEL_START;
    label.max_lines = f->label_lines;
    for (size_t r = 0; g->row_labels && r < p->rows; r++) {
        label.text = g->row_labels[p->row + r];
        const int at[2] = {MARGIN, f->top + (int)r * (f->cell_height + GAP)};
        if (!put_label(g->fonts, page, &label, at, f->cell_height, false))
            return false;
    }
    return true;
}

bool at_grid_draw(struct at_log *log, const struct at_grid *grid, size_t index, struct at_image *page)
{
    struct frame f;
    *page = (struct at_image){0};
    if (!make_frame(log, grid, &f))
        return false;
    size_t down = (grid->rows + f.rows - 1) / f.rows;
    if (index >= count_pages(grid, &f))
        return at_fail(log, AT_ERROR_FAILED, "grid: page %zu of %zu", index + 1, count_pages(grid, &f));
    struct part p = {.row = index % down * f.rows, .column = index / down * f.columns};
    p.rows = grid->rows - p.row < f.rows ? grid->rows - p.row : f.rows;
    p.columns = grid->columns - p.column < f.columns ? grid->columns - p.column : f.columns;
    int width = f.left + (int)p.columns * (f.cell_width + GAP) - GAP + MARGIN;
    int height = f.top + (int)p.rows * (f.cell_height + GAP) - GAP + MARGIN;
    if (!at_image_init(log, page, width, height, 3))
        return false;
    memset(page->pixels, 255, (size_t)width * (size_t)height * 3);
    bool ok = put_labels(grid, &f, &p, page);
    for (size_t r = 0; ok && r < p.rows; r++)
        for (size_t c = 0; ok && c < p.columns; c++) {
            const struct at_image *image = grid->images[(p.row + r) * grid->columns + p.column + c];
            int left = f.left + (int)c * (f.cell_width + GAP), top = f.top + (int)r * (f.cell_height + GAP);
            ok = !image || paste_cell(log, grid, &f, image, page, left, top);
        }
    if (!ok)
        at_image_finish(page);
    return ok;
}

bool at_grid_write(struct at_log *log, const struct at_grid *grid, const char *dir, const char *prefix, size_t *pages)
{
    size_t count = at_grid_pages(log, grid);
    bool ok = count > 0 && at_dir_make(log, dir);
    for (size_t i = 0; ok && i < count; i++) {
        struct at_image page;
        char *path = at_strf("%s/%s-%03zu.png", dir, prefix, i + 1);
        ok = path ? at_grid_draw(log, grid, i, &page) : at_fail_memory(log, strlen(dir));
        if (ok) {
            ok = at_png_write(log, path, &page, NULL, 0);
            at_image_finish(&page);
        }
        at_free(path);
    }
    if (pages)
        *pages = ok ? count : 0;
    return ok;
}
