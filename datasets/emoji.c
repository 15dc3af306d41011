// SPDX-License-Identifier: Apache-2.0
#include "datasets/emoji.h"

#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/base/rng.h"
#include "datasets/emoji_table.h"

#include <hb.h>
#include <hb-ft.h>
#include <stdlib.h>
#include <string.h>

// The font and the memory behind a set.
struct at_emoji_source {
    FT_Library library;
    FT_Face face;
    hb_font_t *shaper;
    hb_buffer_t *buffer;
    struct at_arena *strings;
};

bool at_emoji_held_out(const char *caption)
{
    uint64_t hash = 0xcbf29ce484222325u; // FNV-1a, 64 bits
    for (const char *p = caption; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    uint32_t r[4];
    at_philox(7, AT_STREAM_MAKE, hash, r);
    return r[0] >> 31;
}

static bool open_font(struct at_log *log, struct at_emoji_source *s, const char *path)
{
    if (FT_Init_FreeType(&s->library))
        return at_fail(log, AT_ERROR_FAILED, "FreeType does not start");
    FT_Error error = FT_New_Face(s->library, path, 0, &s->face);
    if (error)
        return at_fail(log, AT_ERROR_INPUT,
                       "%s: cannot open the emoji font (FreeType error %d); install the Debian "
                       "package fonts-noto-color-emoji, or give the path of NotoColorEmoji.ttf",
                       path, error);
    if (!FT_HAS_COLOR(s->face) || s->face->num_fixed_sizes < 1 || FT_Select_Size(s->face, 0))
        return at_fail(log, AT_ERROR_INPUT,
                       "%s: the font holds no colour bitmaps (CBDT); use NotoColorEmoji.ttf of the "
                       "Debian package fonts-noto-color-emoji",
                       path);
    s->shaper = hb_ft_font_create_referenced(s->face);
    s->buffer = hb_buffer_create();
    if (!hb_buffer_allocation_successful(s->buffer))
        return at_fail_memory(log, 0);
    return true;
}

// The one glyph that the font draws for the sequence, or 0.
static uint32_t shape_one(struct at_emoji_source *s, const char *text)
{
    hb_buffer_clear_contents(s->buffer);
    hb_buffer_add_utf8(s->buffer, text, -1, 0, -1);
    hb_buffer_guess_segment_properties(s->buffer);
    hb_buffer_set_flags(s->buffer, HB_BUFFER_FLAG_REMOVE_DEFAULT_IGNORABLES);
    hb_shape(s->shaper, s->buffer, NULL, 0);
    unsigned count = 0;
    const hb_glyph_info_t *info = hb_buffer_get_glyph_infos(s->buffer, &count);
    return count == 1 ? info[0].codepoint : 0;
}

struct at_emoji_set *at_emoji_open(struct at_log *log, const struct at_emoji_params *params)
{
    const char *font = params->font ? params->font : AT_EMOJI_FONT;
    const char *table = params->table ? params->table : AT_EMOJI_TABLE;
    struct at_emoji_set *set = at_calloc(1, sizeof(*set));
    if (set)
        set->source = at_calloc(1, sizeof(*set->source));
    if (set && set->source)
        set->source->strings = at_arena_create();
    if (!set || !set->source || !set->source->strings) {
        (void)at_fail_memory(log, sizeof(*set));
        goto error;
    }
    if (!open_font(log, set->source, font) ||
        !at_emoji_table_read(log, table, set->source->strings, &set->items, &set->count))
        goto error;
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++) {
        set->items[kept] = set->items[i];
        set->items[kept].glyph_id = shape_one(set->source, set->items[i].text);
        kept += set->items[kept].glyph_id != 0;
    }
    at_debug(log, "%s: %zu of the table's %zu emoji are in the font", font, kept, set->count);
    set->count = kept;
    if (kept == 0) {
        (void)at_fail(log, AT_ERROR_INPUT, "%s: the font draws none of the emoji of %s", font, table);
        goto error;
    }
    return set;
error:
    at_emoji_close(&set);
    return NULL;
}

void at_emoji_close(struct at_emoji_set **set)
{
    if (!*set)
        return;
    for (size_t i = 0; i < (*set)->count; i++)
        at_free((*set)->items[i].glyph.rgba);
    at_free((*set)->items);
    struct at_emoji_source *s = (*set)->source;
    if (s) {
        hb_buffer_destroy(s->buffer);
        hb_font_destroy(s->shaper);
        if (s->face)
            FT_Done_Face(s->face);
        if (s->library)
            FT_Done_FreeType(s->library);
        at_arena_destroy(&s->strings);
    }
    at_free(s);
    at_free(*set);
    *set = NULL;
}

// The smallest rectangle with every pixel that is not transparent: {left, top, right, bottom}, the last two exclusive.
static bool opaque_box(const FT_Bitmap *b, int box[4])
{
    box[0] = (int)b->width, box[1] = (int)b->rows, box[2] = 0, box[3] = 0;
    for (int y = 0; y < (int)b->rows; y++)
        for (int x = 0; x < (int)b->width; x++)
            if (b->buffer[y * b->pitch + 4 * x + 3] > 0) {
                box[0] = x < box[0] ? x : box[0];
                box[1] = y < box[1] ? y : box[1];
                box[2] = x + 1 > box[2] ? x + 1 : box[2];
                box[3] = y + 1;
            }
    return box[2] > box[0];
}

static bool decode(struct at_log *log, struct at_emoji_source *s, struct at_emoji *item)
{
    FT_Error error = FT_Load_Glyph(s->face, item->glyph_id, FT_LOAD_COLOR | FT_LOAD_RENDER);
    const FT_Bitmap *b = &s->face->glyph->bitmap;
    int box[4];
    if (error || b->pixel_mode != FT_PIXEL_MODE_BGRA || b->pitch < 0 || !opaque_box(b, box))
        return at_fail(log, AT_ERROR_INPUT,
                       "emoji \"%s\": the font's drawing cannot be decoded (FreeType error %d); "
                       "reinstall the Debian package fonts-noto-color-emoji",
                       item->name, error);
    struct at_emoji_glyph g = {.width = box[2] - box[0], .height = box[3] - box[1]};
    size_t pixels = (size_t)g.width * (size_t)g.height;
    g.rgba = at_calloc_aligned(pixels, 4 * sizeof(float));
    if (!g.rgba)
        return at_fail_memory(log, pixels * 4 * sizeof(float));
    static const int order[4] = {2, 1, 0, 3}; // BGRA, already premultiplied
    for (int y = 0; y < g.height; y++)
        for (int x = 0; x < g.width; x++)
            for (int c = 0; c < 4; c++)
                g.rgba[4 * (y * g.width + x) + c] =
                    (float)b->buffer[(y + box[1]) * b->pitch + 4 * (x + box[0]) + order[c]] / 255.0f;
    item->glyph = g;
    return true;
}

bool at_emoji_prepare(struct at_log *log, struct at_emoji_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        if (!set->items[i].glyph.rgba && !decode(log, set->source, &set->items[i]))
            return false;
    return true;
}

const struct at_emoji *at_emoji_find(const struct at_emoji_set *set, const char *caption)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->items[i].caption, caption) == 0)
            return &set->items[i];
    return NULL;
}
