// SPDX-License-Identifier: Apache-2.0
#include "core/io/label.h"

#include "core/base/alloc.h"
#include "core/io/image.h"
#include "core/io/label_layout.h"

#include <math.h>

// Lines stand 1.35 em apart, the first baseline 1.05 em below the top.
static int line_height(int size)
{
    return (int)ceil(1.35 * size);
}

bool at_label_measure(struct at_fonts *fonts, const struct at_label *label, int *width, int *height)
{
    struct at_layout l;
    *width = *height = 0;
    if (!at_layout_init(&l, fonts, label))
        return false;
    double widest = 0;
    for (size_t i = 0; i < l.line_count; i++) {
        double w = at_layout_width(&l, l.lines[i].begin, l.lines[i].end);
        w += l.lines[i].more ? at_layout_width(&l, l.count, l.count + 1) : 0;
        widest = w > widest ? w : widest;
    }
    *width = (int)ceil(widest);
    *height = (int)l.line_count * line_height(l.size);
    at_layout_finish(&l);
    return true;
}

// Where glyphs go, and in which colour.
struct pen {
    struct at_image *image;
    const uint8_t *color;
    double x;
    int baseline;
};

// Lays a premultiplied colour (0 .. 255 each) of coverage `alpha` over one pixel. With four channels the pixel's own
// alpha counts, and is not multiplied in.
static void blend(struct at_image *image, int x, int y, const double color[3], double alpha)
{
    if (x < 0 || y < 0 || x >= image->width || y >= image->height || alpha <= 0)
        return;
    uint8_t *p = image->pixels + ((size_t)y * (size_t)image->width + (size_t)x) * (size_t)image->channels;
    double luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2];
    double under = (image->channels == 4 ? p[3] / 255.0 : 1) * (1 - alpha / 255), whole = alpha / 255 + under;
    for (int c = 0; c < image->channels && c < 3; c++) {
        double over = image->channels == 1 ? luma : color[c];
        p[c] = (uint8_t)fmin(255, (over + under * p[c]) / whole + 0.5);
    }
    if (image->channels == 4)
        p[3] = (uint8_t)fmin(255, 255 * whole + 0.5);
}

static void put_coverage(const struct pen *pen, const FT_GlyphSlot slot, int x, int y)
{
    const FT_Bitmap *b = &slot->bitmap;
    for (int row = 0; row < (int)b->rows; row++)
        for (int col = 0; col < (int)b->width; col++) {
            const unsigned char *line = b->buffer + (ptrdiff_t)row * b->pitch;
            double alpha =
                b->pixel_mode == FT_PIXEL_MODE_MONO ? (line[col >> 3] >> (7 - (col & 7)) & 1) * 255.0 : line[col];
            double color[3];
            for (int c = 0; c < 3; c++)
                color[c] = pen->color[c] * alpha / 255;
            blend(pen->image, x + col, y + row, color, alpha);
        }
}

// The mean of a rectangle of BGRA pixels.
static void average(const FT_Bitmap *b, const int box[4], double out[4])
{
    double sum[4] = {0, 0, 0, 0};
    for (int y = box[1]; y < box[3]; y++)
        for (int x = box[0]; x < box[2]; x++)
            for (int c = 0; c < 4; c++)
                sum[c] += b->buffer[(ptrdiff_t)y * b->pitch + 4 * x + c];
    double n = (double)(box[2] - box[0]) * (box[3] - box[1]);
    for (int c = 0; c < 4; c++)
        out[c] = sum[c] / n;
}

static void put_colour(const struct pen *pen, const FT_GlyphSlot slot, double zoom, int x, int y)
{
    const FT_Bitmap *b = &slot->bitmap;
    int columns = (int)b->width, rows = (int)b->rows, width = (int)lround(columns * zoom);
    int height = (int)lround(rows * zoom);
    for (int row = 0; row < height; row++)
        for (int col = 0; col < width; col++) {
            int box[4] = {col * columns / width, row * rows / height, (col + 1) * columns / width,
                          (row + 1) * rows / height};
            box[2] += box[2] == box[0];
            box[3] += box[3] == box[1];
            double bgra[4];
            average(b, box, bgra);
            blend(pen->image, x + col, y + row, (const double[3]){bgra[2], bgra[1], bgra[0]}, bgra[3]);
        }
}

static void put_glyph(const struct pen *pen, struct at_face *face, uint32_t glyph, double dx, double dy)
{
    double x = pen->x + dx, whole = floor(x);
    FT_Vector shift = {.x = (FT_Pos)((x - whole) * 64), .y = 0};
    FT_Set_Transform(face->ft, NULL, face->colour ? NULL : &shift);
    if (FT_Load_Glyph(face->ft, glyph, FT_LOAD_RENDER | (face->colour ? FT_LOAD_COLOR : FT_LOAD_TARGET_LIGHT)))
        return;
    FT_GlyphSlot slot = face->ft->glyph;
    int left = (int)whole + (int)lround(slot->bitmap_left * face->zoom);
    int top = pen->baseline - (int)lround(slot->bitmap_top * face->zoom + dy);
    if (slot->bitmap.pixel_mode == FT_PIXEL_MODE_BGRA)
        put_colour(pen, slot, face->zoom, left, top);
    else if (slot->bitmap.pixel_mode == FT_PIXEL_MODE_GRAY || slot->bitmap.pixel_mode == FT_PIXEL_MODE_MONO)
        put_coverage(pen, slot, left, top);
}

static void draw_run(struct at_layout *l, struct at_run run, struct pen *pen)
{
    struct at_face *face = l->letters[run.begin].face;
    at_layout_shape(l, run);
    unsigned n;
    const hb_glyph_info_t *info = hb_buffer_get_glyph_infos(l->buffer, &n);
    const hb_glyph_position_t *at = hb_buffer_get_glyph_positions(l->buffer, &n);
    for (unsigned i = 0; i < n; i++) {
        double dx = face->colour ? 0 : at[i].x_offset / 64.0, dy = face->colour ? 0 : at[i].y_offset / 64.0;
        put_glyph(pen, face, info[i].codepoint, dx, dy);
        pen->x += at_layout_advance(face, &info[i], &at[i]);
    }
}

// Runs in the order of the eye: those of the line's own direction in its order, each series of the other direction
// turned round.
static bool draw_line(struct at_layout *l, const struct at_line *line, struct pen *pen)
{
    bool rtl = line->rtl;
    size_t n = 0, most = line->end - line->begin + 1;
    struct at_run *runs = at_calloc(most, sizeof(*runs));
    if (!runs)
        return at_fail_memory(l->log, most * sizeof(*runs));
    for (size_t i = line->begin; i < line->end; i = runs[n++].end)
        runs[n] = at_layout_run(l, i, line->end);
    if (line->more)
        runs[n++] = (struct at_run){.begin = l->count, .end = l->count + 1, .rtl = rtl};
    for (size_t i = 0; i < n;) { // i counts from the line's start
        size_t j = i + 1;
        while (j < n && runs[i].rtl != rtl && runs[j].rtl != rtl)
            j++;
        for (size_t a = i, b = j; a + 1 < b; a++, b--) {
            struct at_run t = runs[a];
            runs[a] = runs[b - 1];
            runs[b - 1] = t;
        }
        i = j;
    }
    for (size_t i = 0; i < n; i++)
        draw_run(l, runs[rtl ? n - 1 - i : i], pen);
    at_free(runs);
    return true;
}

bool at_label_draw(struct at_fonts *fonts, const struct at_label *label, struct at_image *image, int x, int y)
{
    struct at_layout l;
    if (!at_layout_init(&l, fonts, label))
        return false;
    bool ok = true;
    for (size_t i = 0; ok && i < l.line_count; i++) {
        const struct at_line *line = &l.lines[i];
        double width = at_layout_width(&l, line->begin, line->end), spare = 0;
        width += line->more ? at_layout_width(&l, l.count, l.count + 1) : 0;
        if (label->width > 0 && label->align == AT_LABEL_CENTRE)
            spare = (label->width - width) / 2;
        else if (label->width > 0 && (label->align == AT_LABEL_END) != line->rtl)
            spare = label->width - width;
        struct pen pen = {.image = image, .color = label->color, .x = x + (spare > 0 ? floor(spare) : 0)};
        pen.baseline = y + (int)i * line_height(l.size) + (int)lround(1.05 * l.size);
        ok = draw_line(&l, line, &pen);
    }
    at_layout_finish(&l);
    return ok;
}
