// SPDX-License-Identifier: Apache-2.0
#include "core/io/label_layout.h"

#include "core/base/alloc.h"
#include "core/base/utf8.h"

#include <string.h>

#define MAX_LETTERS 4096
#define ELLIPSIS 0x2026
#define JOINER 0x200d
#define PICTURE_SELECTOR 0xfe0f
#define KEYCAP 0x20e3

static bool is_space(uint32_t c)
{
    return c == ' ' || c == 0x3000 || c == 0x200b;
}

static bool is_flag_letter(uint32_t c)
{
    return c >= 0x1f1e6 && c <= 0x1f1ff;
}

static bool is_picture(uint32_t c)
{
    return c >= 0x1f000 && c < 0x1fc00;
}

// Characters that belong to the one before.
static bool is_attached(uint32_t c)
{
    if (c == JOINER || c == 0x200c || c == KEYCAP || (c >= 0xfe00 && c <= PICTURE_SELECTOR) ||
        (c >= 0x1f3fb && c <= 0x1f3ff) || (c >= 0xe0020 && c <= 0xe007f))
        return true;
    hb_unicode_general_category_t k = hb_unicode_general_category(hb_unicode_funcs_get_default(), c);
    return k == HB_UNICODE_GENERAL_CATEGORY_NON_SPACING_MARK || k == HB_UNICODE_GENERAL_CATEGORY_ENCLOSING_MARK ||
           k == HB_UNICODE_GENERAL_CATEGORY_SPACING_MARK;
}

static bool is_shared(hb_script_t s)
{
    return s == HB_SCRIPT_COMMON || s == HB_SCRIPT_INHERITED || s == HB_SCRIPT_UNKNOWN;
}

static bool is_rtl(hb_script_t s)
{
    return hb_script_get_horizontal_direction(s) == HB_DIRECTION_RTL;
}

// The text as code points; control characters become spaces.
static void decode(struct at_layout *l)
{
    const char *p = l->label->text;
    size_t left = strlen(p);
    while (left > 0 && l->count < MAX_LETTERS) {
        uint32_t c;
        size_t n = at_utf8_step(p, left, &c);
        if (n == 0)
            c = 0xfffd, n = 1;
        if ((c < 32 && c != '\n') || (c >= 0x7f && c < 0xa0))
            c = ' ';
        l->codes[l->count++] = c;
        p += n;
        left -= n;
    }
    l->codes[l->count] = ELLIPSIS;
}

// Whether letter i goes with letter i - 1.
static bool joins_previous(const uint32_t *codes, size_t i)
{
    if (i == 0)
        return false;
    if (is_attached(codes[i]) || codes[i - 1] == JOINER)
        return true;
    size_t flags = 0; // a flag is two letters: the second joins when an odd number stands before it
    while (flags < i && is_flag_letter(codes[i]) && is_flag_letter(codes[i - 1 - flags]))
        flags++;
    return flags % 2 == 1;
}

static void choose_face(struct at_layout *l, size_t i)
{
    uint32_t c = l->codes[i], next = i + 1 < l->count ? l->codes[i + 1] : 0;
    struct at_letter *t = &l->letters[i], *before = i > 0 ? t - 1 : NULL;
    t->first = !joins_previous(l->codes, i);
    t->script = hb_unicode_script(hb_unicode_funcs_get_default(), c);
    t->neutral = is_shared(t->script);
    if (t->neutral)
        t->script = before ? before->script : HB_SCRIPT_COMMON;
    if (c >= '0' && c <= '9' && is_rtl(t->script))
        t->script = HB_SCRIPT_LATIN; // digits run left to right in any company
    t->neutral = t->neutral && !(c >= '0' && c <= '9');
    if (is_space(c) || c == '\n')
        c = ' ';
    bool keep = before && before->face && (!t->first || (c == ' ' && !before->face->colour));
    t->face = keep ? before->face : at_fonts_face(l->fonts, c, is_picture(c) || next == PICTURE_SELECTOR);
    if (t->face)
        at_face_resize(t->face, l->size);
}

// The direction of a paragraph: that of its first letter with a script of its own.
static bool paragraph_rtl(const struct at_layout *l, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++)
        if (!is_shared(hb_unicode_script(hb_unicode_funcs_get_default(), l->codes[i])))
            return is_rtl(l->letters[i].script);
    return false;
}

// Spaces and marks between two directions, or at an end, go with the paragraph's own.
static void settle_neutrals(struct at_layout *l, size_t begin, size_t end, bool rtl)
{
    hb_script_t home = rtl ? HB_SCRIPT_ARABIC : HB_SCRIPT_LATIN;
    for (size_t i = begin; i < end;) {
        size_t j = i;
        while (j < end && l->letters[j].neutral)
            j++;
        if (j == i) {
            home = is_rtl(l->letters[i].script) == rtl ? l->letters[i].script : home;
            i++;
            continue;
        }
        bool before = i > begin ? is_rtl(l->letters[i - 1].script) : rtl;
        bool after = j < end ? is_rtl(l->letters[j].script) : rtl;
        for (; i < j; i++)
            if (before != after || before == rtl)
                l->letters[i].script = before == after && i > begin ? l->letters[i - 1].script : home;
    }
}

static size_t paragraph_end(const struct at_layout *l, size_t begin, size_t stop)
{
    while (begin < stop && l->codes[begin] != '\n')
        begin++;
    return begin;
}

static void settle_scripts(struct at_layout *l)
{
    for (size_t begin = 0, end; begin < l->count; begin = end + 1) {
        end = paragraph_end(l, begin, l->count);
        settle_neutrals(l, begin, end, paragraph_rtl(l, begin, end));
    }
}

struct at_run at_layout_run(const struct at_layout *l, size_t begin, size_t end)
{
    struct at_run run = {.begin = begin, .end = begin + 1, .rtl = is_rtl(l->letters[begin].script)};
    while (run.end < end && l->letters[run.end].face == l->letters[begin].face &&
           l->letters[run.end].script == l->letters[begin].script)
        run.end++;
    return run;
}

void at_layout_shape(struct at_layout *l, struct at_run run)
{
    struct at_face *face = l->letters[run.begin].face;
    hb_buffer_clear_contents(l->buffer);
    hb_buffer_add_utf32(l->buffer, l->codes, (int)l->count + 1, (unsigned)run.begin, (int)(run.end - run.begin));
    hb_buffer_set_direction(l->buffer, run.rtl ? HB_DIRECTION_RTL : HB_DIRECTION_LTR);
    hb_buffer_set_script(l->buffer, l->letters[run.begin].script);
    hb_buffer_set_language(l->buffer, hb_language_get_default());
    hb_buffer_set_flags(l->buffer, face->colour ? HB_BUFFER_FLAG_REMOVE_DEFAULT_IGNORABLES : HB_BUFFER_FLAG_DEFAULT);
    hb_shape(face->shaper, l->buffer, NULL, 0);
}

double at_layout_advance(const struct at_face *face, const hb_glyph_info_t *info, const hb_glyph_position_t *position)
{
    if (!face->colour)
        return position->x_advance / 64.0;
    if (FT_Load_Glyph(face->ft, info->codepoint, FT_LOAD_COLOR | FT_LOAD_BITMAP_METRICS_ONLY))
        return 0;
    return (double)face->ft->glyph->advance.x / 64.0 * face->zoom;
}

double at_layout_width(struct at_layout *l, size_t begin, size_t end)
{
    double width = 0;
    while (begin < end) {
        struct at_run run = at_layout_run(l, begin, end);
        at_layout_shape(l, run);
        unsigned n;
        const hb_glyph_info_t *info = hb_buffer_get_glyph_infos(l->buffer, &n);
        const hb_glyph_position_t *position = hb_buffer_get_glyph_positions(l->buffer, &n);
        for (unsigned i = 0; i < n; i++)
            width += at_layout_advance(l->letters[run.begin].face, &info[i], &position[i]);
        begin = run.end;
    }
    return width;
}

static bool breaks_anywhere(const struct at_letter *t)
{
    return t->script == HB_SCRIPT_HAN || t->script == HB_SCRIPT_HIRAGANA || t->script == HB_SCRIPT_KATAKANA ||
           t->script == HB_SCRIPT_HANGUL || t->script == HB_SCRIPT_BOPOMOFO || t->script == HB_SCRIPT_YI ||
           t->face->colour;
}

// Marks that may not begin, or may not end, a line.
static bool is_one_of(uint32_t c, const uint32_t *marks)
{
    while (*marks && *marks != c)
        marks++;
    return *marks != 0;
}

static bool may_break_before(const struct at_layout *l, size_t i)
{
    static const uint32_t closing[] = {',',    '.',    ';',    ':',    '!',    '?',    ')',    ']',
                                       0x3001, 0x3002, 0xff0c, 0xff0e, 0xff1a, 0xff1b, 0xff01, 0xff1f,
                                       0x300d, 0x300f, 0xff09, 0x3011, 0x30fc, 0x2026, 0};
    static const uint32_t opening[] = {'(', '[', 0x300c, 0x300e, 0xff08, 0x3010, 0};
    uint32_t before = l->codes[i - 1], here = l->codes[i];
    if (!l->letters[i].first || is_space(here) || is_one_of(here, closing) || is_one_of(before, opening))
        return false;
    return is_space(before) || before == '-' || before == 0x2013 || before == 0x2014 ||
           breaks_anywhere(&l->letters[i]) || breaks_anywhere(&l->letters[i - 1]);
}

// The end without the spaces before it.
static size_t trimmed(const struct at_layout *l, size_t begin, size_t end)
{
    while (end > begin && is_space(l->codes[end - 1]))
        end--;
    return end;
}

static bool fits(struct at_layout *l, size_t begin, size_t end, double room)
{
    return room <= 0 || at_layout_width(l, begin, trimmed(l, begin, end)) <= room;
}

static size_t next_letter(const struct at_layout *l, size_t i, size_t end)
{
    do
        i++;
    while (i < end && !l->letters[i].first);
    return i;
}

// Where a line that begins at `begin` ends: at the last break that fits, or within a word too long for a line.
static size_t line_end(struct at_layout *l, size_t begin, size_t end, double room)
{
    if (fits(l, begin, end, room))
        return end;
    size_t last = begin;
    for (size_t i = begin + 1; i < end; i++) {
        if (!may_break_before(l, i))
            continue;
        if (!fits(l, begin, i, room))
            break;
        last = i;
    }
    if (last > begin)
        return last;
    for (size_t i = next_letter(l, begin, end); i < end; i = next_letter(l, i, end)) {
        if (!fits(l, begin, i, room))
            break;
        last = i;
    }
    return last > begin ? last : next_letter(l, begin, end);
}

// Shortens a line until the ellipsis fits behind it.
static void make_room(struct at_layout *l, struct at_line *line, double room)
{
    double dots = at_layout_width(l, l->count, l->count + 1);
    line->more = true;
    while (room > 0 && line->end > line->begin && at_layout_width(l, line->begin, line->end) + dots > room) {
        do
            line->end--;
        while (line->end > line->begin && !l->letters[line->end].first);
        line->end = trimmed(l, line->begin, line->end);
    }
}

static bool add_line(struct at_layout *l, size_t begin, size_t end, bool rtl)
{
    if (!at_grow((void **)&l->lines, &l->line_capacity, l->line_count + 1, sizeof(*l->lines)))
        return at_fail_memory(l->log, (l->line_count + 1) * sizeof(*l->lines));
    l->lines[l->line_count++] = (struct at_line){.begin = begin, .end = trimmed(l, begin, end), .rtl = rtl};
    return true;
}

static bool break_lines(struct at_layout *l)
{
    double room = l->label->width;
    size_t most = l->label->max_lines > 0 ? (size_t)l->label->max_lines : SIZE_MAX, begin = 0;
    size_t stop = trimmed(l, 0, l->count);
    bool rtl = false;
    while (begin < stop) {
        size_t paragraph = paragraph_end(l, begin, stop);
        if (begin == 0 || l->codes[begin - 1] == '\n')
            rtl = paragraph_rtl(l, begin, paragraph);
        size_t end = begin < paragraph ? line_end(l, begin, paragraph, room) : begin;
        if (!add_line(l, begin, end, rtl))
            return false;
        begin = end;
        while (begin < paragraph && is_space(l->codes[begin]))
            begin++;
        if (begin == paragraph)
            begin++; // over the line feed
        if (begin < stop && l->line_count == most) {
            make_room(l, &l->lines[most - 1], room);
            return true;
        }
    }
    return true;
}

bool at_layout_init(struct at_layout *l, struct at_fonts *fonts, const struct at_label *label)
{
    *l = (struct at_layout){.fonts = fonts, .label = label, .size = label->size > 0 ? label->size : 14};
    l->size = l->size < 4 ? 4 : l->size > 512 ? 512 : l->size;
    l->log = at_fonts_log(fonts);
    if (!at_fonts_face(fonts, ELLIPSIS, false))
        return true; // no font at all
    size_t room = strlen(label->text) < MAX_LETTERS ? strlen(label->text) : MAX_LETTERS;
    l->codes = at_calloc(room + 1, sizeof(*l->codes));
    l->letters = at_calloc(room + 1, sizeof(*l->letters));
    l->buffer = hb_buffer_create();
    bool ok = l->codes && l->letters && hb_buffer_allocation_successful(l->buffer);
    if (!ok)
        (void)at_fail_memory(l->log, room * sizeof(*l->letters));
    if (ok) {
        decode(l);
        for (size_t i = 0; i <= l->count; i++)
            choose_face(l, i);
        settle_scripts(l);
        ok = break_lines(l);
    }
    if (!ok)
        at_layout_finish(l);
    return ok;
}

void at_layout_finish(struct at_layout *l)
{
    at_free(l->codes);
    at_free(l->letters);
    at_free(l->lines);
    hb_buffer_destroy(l->buffer);
    *l = (struct at_layout){0};
}
