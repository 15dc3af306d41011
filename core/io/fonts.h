// SPDX-License-Identifier: Apache-2.0
// Which font of the machine has a character. The inside of label.h.
#ifndef CORE_IO_FONTS_H
#define CORE_IO_FONTS_H

#include "core/io/label.h"

#include <hb.h>
#include <hb-ft.h>
#include <stdint.h>

// One face in use.
struct at_face {
    FT_Face ft;
    hb_font_t *shaper;
    bool colour; // holds colour bitmaps: emoji
    int size;    // pixels per em asked for last
    double zoom; // picture pixels per font pixel: 1, but for bitmaps of one fixed size
};

// The log it was opened with.
struct at_log *at_fonts_log(const struct at_fonts *fonts);
// The face that draws the character: the first that has it (colour first if `emoji`), the first of all if none has,
// NULL if there is no font.
struct at_face *at_fonts_face(struct at_fonts *fonts, uint32_t character, bool emoji);
bool at_face_has(const struct at_face *face, uint32_t character);
// Sets pixels per em.
void at_face_resize(struct at_face *face, int size);

#endif
