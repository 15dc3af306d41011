// SPDX-License-Identifier: Apache-2.0
// Text in pictures: any script the machine has a font for, emoji in colour, wrapped to a width. Shaping is HarfBuzz's,
// drawing FreeType's. Right-to-left runs are put in order by a simple rule (no nested embeddings).
//
//     struct at_fonts *fonts = at_fonts_open(log, NULL);
//     struct at_label label = {.text = prompt, .size = 14, .width = 200, .max_lines = 3};
//     bool ok = fonts && at_label_measure(fonts, &label, &w, &h) && at_label_draw(fonts, &label, image, x, y);
//     at_fonts_close(&fonts);
#ifndef CORE_IO_LABEL_H
#define CORE_IO_LABEL_H

#include "core/base/log.h"

#include <stdint.h>

struct at_fonts;
struct at_image;

// Lists the font files under the folders in `dirs` (NULL at the end; NULL itself: /usr/share/fonts,
// /usr/local/share/fonts and ~/.local/share/fonts). Files are opened when a character asks for them: general sans faces
// first, then emoji and CJK, then the rest by name. No font at all is a warning, not a failure: labels are then left
// out. NULL: no memory. Not thread-safe.
struct at_fonts *at_fonts_open(struct at_log *log, const char *const *dirs);
// Frees it and sets *fonts to NULL; a pointer to NULL is fine.
void at_fonts_close(struct at_fonts **fonts);

enum at_label_align { AT_LABEL_START, AT_LABEL_CENTRE, AT_LABEL_END };

struct at_label {
    const char *text; // UTF-8; bytes that are not become U+FFFD; '\n' begins a line; cut after 4096 characters
    int size;         // pixels per em, 4 .. 512; 0: 14
    int width;        // wrap to so many pixels; 0: only at '\n'
    int max_lines;    // the last one ends in an ellipsis when there is more; 0: no limit
    uint8_t color[3];
    enum at_label_align align; // within width; the start of a right-to-left line is its right end
};

// Pixels the label takes: width of its longest line (a single character wider than `width` may exceed it), lines times
// 1.35 times the size. 0 x 0 when there is no font or no text. False: no memory.
AT_NODISCARD bool at_label_measure(struct at_fonts *fonts, const struct at_label *label, int *width, int *height);
// Draws with the label's top left corner at (x, y); what falls outside the image is cut off. The image has 1, 3 or 4
// channels (luma, RGB, RGBA). False: no memory.
AT_NODISCARD bool at_label_draw(struct at_fonts *fonts, const struct at_label *label, struct at_image *image, int x,
                                int y);

#endif
