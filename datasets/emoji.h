// SPDX-License-Identifier: Apache-2.0
// Pictures of emoji with their English names: the data of the embedded model. The drawings come from the Noto Color
// Emoji font, the names from Unicode's emoji-test.txt; both are Debian packages.
//
//     struct at_emoji_set *set = at_emoji_open(log, &(struct at_emoji_params){0});   // everything the font can draw
//     if (set && at_emoji_select(log, set, &(struct at_emoji_rule){0}))              // the names of the embedded model
//         item = at_emoji_sample(log, set, 32, seed, i, rgb, NULL);                  // picture i and item->caption
//     at_emoji_close(&set);
//
// A set that has been selected or prepared is only read while sampling: threads may share it, each with its own log.
#ifndef DATASETS_EMOJI_H
#define DATASETS_EMOJI_H

#include "core/base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AT_EMOJI_FONT "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf" // Debian: fonts-noto-color-emoji
#define AT_EMOJI_TABLE "/usr/share/unicode/emoji/emoji-test.txt"          // Debian: unicode-data

// One drawing: premultiplied RGBA in [0,1], cropped to what is not transparent, (height, width, 4).
struct at_emoji_glyph {
    int width, height;
    float *rgba;
};

struct at_emoji {
    const char *text;            // the sequence in UTF-8
    const char *name;            // CLDR short name, such as "T-Rex"
    const char *caption;         // the name in lower case, words of [a-z0-9] with one space between, such as "t rex"
    const char *group;           // "Animals & Nature"
    const char *subgroup;        // "animal-reptile"
    double version;              // of Unicode emoji, 0.6 ...
    int words;                   // in the caption
    bool held_out;               // kept out of preference pairs: about half of all names, by a hash of the caption
    uint32_t glyph_id;           // in the font
    struct at_emoji_glyph glyph; // empty until prepared
};

struct at_emoji_set {
    size_t count;
    struct at_emoji *items; // in the order of the table, the strings live as long as the set
    struct at_emoji_source *source;
};

struct at_emoji_params {
    const char *font;  // NULL: AT_EMOJI_FONT
    const char *table; // NULL: AT_EMOJI_TABLE
};

// Reads the table's fully-qualified rows, keeping those that the font draws as one glyph. NULL with the reason logged.
struct at_emoji_set *at_emoji_open(struct at_log *log, const struct at_emoji_params *params);
// Frees everything and sets *set to NULL; a pointer to NULL is fine.
void at_emoji_close(struct at_emoji_set **set);

// Which names a model learns. Headings are taken in the order written in emoji_select.c, each up to its quota; within a
// heading, always the drawing that differs most from all taken so far, until none differs by `distance`, which leaves
// out the look-alikes. Captions longer than max_words words and captions already taken do not count. Stops at `count`.
// The distance of two drawings a, b is sqrt(|a-b|^2 / (|1-a|^2 + |1-b|^2)) over 16x16 RGB pictures on white: 0 for
// equal ones, 1 for ones that share no pixel.
struct at_emoji_rule {
    size_t count;    // 0: 320
    int max_words;   // 0: 3
    double distance; // 0: 0.25
};

// Narrows the set to the rule, and prepares it.
AT_NODISCARD bool at_emoji_select(struct at_log *log, struct at_emoji_set *set, const struct at_emoji_rule *rule);
// Decodes every drawing of the set, so that it can be drawn from.
AT_NODISCARD bool at_emoji_prepare(struct at_log *log, struct at_emoji_set *set);
// The item with this caption, or NULL.
const struct at_emoji *at_emoji_find(const struct at_emoji_set *set, const char *caption);
// Whether a caption is held out of preference pairs: the same answer whatever else is in the set.
bool at_emoji_held_out(const char *caption);

// How an emoji lies in its picture. Not told in the caption.
struct at_emoji_view {
    double scale;        // longest side of the drawing / side of the picture
    double dx, dy;       // centre of the drawing off the centre of the picture, / side of the picture
    double saturation;   // 1: as drawn, 0: grey
    float background[3]; // RGB in [0,1]
};

// The view of the true pictures: scale .94, centred, saturation 1, on white.
extern const struct at_emoji_view at_emoji_truth;

// Draws one prepared emoji into rgb (size, size, 3), values in [0,1]. False: no memory.
AT_NODISCARD bool at_emoji_draw(struct at_log *log, const struct at_emoji *item, const struct at_emoji_view *view,
                                int size, float *rgb);

// The view that sample `index` has: scale U(.8, 1), shifted a little but never cut, half the time pale (saturation
// U(.25, .55)) and half the time vivid (U(1, 1.4)), on white 3 times of 4, else on a light tint.
struct at_emoji_view at_emoji_view(uint64_t seed, uint64_t index);

// Sample `index` of the endless data set `seed`: picture into rgb (size, size, 3) in [0,1], view into *view unless
// NULL. A pure function of its arguments. Sample i shows item i mod count, so any `count` samples in a row show each
// name once. NULL: no memory.
const struct at_emoji *at_emoji_sample(struct at_log *log, const struct at_emoji_set *set, int size, uint64_t seed,
                                       uint64_t index, float *rgb, struct at_emoji_view *view);

// Writes samples 0 .. count - 1 of data set `seed` as an imagefolder (see imagefolder.h) into the new or empty folder
// `dir`, and names.json: the captions, apart as "train" and "held_out", and how the set was made. All of it appears at
// once, or nothing does.
struct at_emoji_export {
    const char *dir;
    size_t count; // of pictures
    int size;     // side in pixels
    uint64_t seed;
    // Told the share done after each picture; false ends with AT_ERROR_INTERRUPTED. NULL: silent.
    bool (*progress)(void *priv, double done);
    void *priv;
};
AT_NODISCARD bool at_emoji_export(struct at_log *log, const struct at_emoji_set *set,
                                  const struct at_emoji_export *params);

#endif
