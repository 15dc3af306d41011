// SPDX-License-Identifier: Apache-2.0
// Characters, faces and line breaks of a label. The inside of label.h.
#ifndef CORE_IO_LABEL_LAYOUT_H
#define CORE_IO_LABEL_LAYOUT_H

#include "core/io/fonts.h"

#include <stddef.h>

struct at_letter {
    struct at_face *face;
    hb_script_t script;
    bool neutral; // takes its script, and so its direction, from its neighbours
    bool first;   // a user's character begins here, a line may be broken before it if it must
};

struct at_line {
    size_t begin, end; // of its letters
    bool more;         // an ellipsis stands at its end
    bool rtl;          // its paragraph runs right to left
};

struct at_layout {
    struct at_fonts *fonts;
    const struct at_label *label;
    int size;
    uint32_t *codes;           // count + 1: the last is the ellipsis
    struct at_letter *letters; // the same
    size_t count;
    struct at_line *lines;
    size_t line_count, line_capacity;
    hb_buffer_t *buffer;
    struct at_log *log;
};

// Finds faces and breaks lines. False: no memory. Without fonts or text there are no lines.
AT_NODISCARD bool at_layout_init(struct at_layout *layout, struct at_fonts *fonts, const struct at_label *label);
void at_layout_finish(struct at_layout *layout);

// A stretch of letters that is shaped at once.
struct at_run {
    size_t begin, end;
    bool rtl;
};

// The run that begins at `begin`, ending before `end` at the latest.
struct at_run at_layout_run(const struct at_layout *layout, size_t begin, size_t end);
// Shapes a run into layout->buffer.
void at_layout_shape(struct at_layout *layout, struct at_run run);
// How far a shaped glyph of this face moves the pen, in pixels.
double at_layout_advance(const struct at_face *face, const hb_glyph_info_t *info, const hb_glyph_position_t *position);
// Pixels of a line of letters.
double at_layout_width(struct at_layout *layout, size_t begin, size_t end);

#endif
