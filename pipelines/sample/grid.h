// SPDX-License-Identifier: Apache-2.0
// Labelled grids of pictures for comparing models: one row a prompt, one column a model or seed, split into pages when
// they grow large.
#ifndef PIPELINES_SAMPLE_GRID_H
#define PIPELINES_SAMPLE_GRID_H

#include "core/base/log.h"

#include <stdbool.h>
#include <stddef.h>

struct at_fonts;
struct at_image;

struct at_grid {
    size_t rows, columns;
    const struct at_image *const *images; // rows x columns, row by row; NULL: an empty cell. All of one size.
    struct at_fonts *fonts;               // for the labels; NULL: no labels
    const char *const *row_labels;        // at the left; NULL: none
    const char *const *column_labels;     // on top; NULL: none
    const char *title;                    // on every page; NULL: none
    int scale;       // picture pixels are drawn this many times larger; 0: so that a cell has at least 128 pixels
    bool smooth;     // enlarge smoothly; otherwise pixels stay squares
    int label_size;  // pixels per em; 0: 14
    int max_side;    // of a page in pixels; 0: 8192
    size_t max_rows; // on a page; 0: as many as max_side allows
};

// How many pages there are: all rows for the first columns that fit, then for the next. 0 with the reason logged when
// not even one cell fits, or the pictures differ in size.
size_t at_grid_pages(struct at_log *log, const struct at_grid *grid);
// Draws page 0 .. pages - 1 as RGB. The caller frees *page with at_image_finish.
AT_NODISCARD bool at_grid_draw(struct at_log *log, const struct at_grid *grid, size_t index, struct at_image *page);
// Writes every page as PREFIX-001.png, PREFIX-002.png ... into the folder; *pages (unless NULL) is how many.
AT_NODISCARD bool at_grid_write(struct at_log *log, const struct at_grid *grid, const char *dir, const char *prefix,
                                size_t *pages);

#endif
