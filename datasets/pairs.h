// SPDX-License-Identifier: Apache-2.0
// Preference pairs: two pictures for one prompt, one of them preferred. Three forms are read:
//   - JSONL: {"prompt": "...", "win": "a.png", "lose": "b.png", "label": 1}; label 1 (or none): win is preferred,
//     0: the other, 0.5: a tie, which is dropped and counted;
//   - JSONL with the names of Pick-a-Pic: {"caption": "...", "jpg_0": "a.jpg", "jpg_1": "b.jpg", "label_0": 1};
//   - a folder with w/ and l/, each with NAME.png (or .jpg, .jpeg), and w/NAME.txt holding the prompt.
// Paths are relative to the JSONL file. Everything is checked before anything is returned, and all problems are named,
// each with file, line and field.
#ifndef DATASETS_PAIRS_H
#define DATASETS_PAIRS_H

#include "core/base/log.h"
#include "core/io/image.h"

#include <stddef.h>

struct at_pair {
    const char *prompt;
    const char *win, *lose; // paths that open from here; win is the preferred one
    const char *mask;       // of the region that was judged, or NULL
    size_t line;            // in the JSONL file; 0 for folders
    int width, height;      // of both pictures; 0 where they were not looked at
};

struct at_pairs {
    size_t count, capacity;
    struct at_pair *items;
    size_t ties; // rows dropped because their label was 0.5
    struct at_arena *strings;
};

struct at_pairs_params {
    bool skip_images; // check only the rows and that the files are there: do not decode them
};

// Reads a JSONL file, or a folder: with pairs.jsonl in it that one, else its w/ and l/. Checked: fields and their
// types, labels, missing files; pictures that do not decode, differ in size within a pair, or are the same. No pair at
// all is a problem too. On failure *pairs is empty; else freed by at_pairs_finish.
AT_NODISCARD bool at_pairs_read(struct at_log *log, const char *path, const struct at_pairs_params *params,
                                struct at_pairs *pairs);
// The rows of JSONL bytes alone, no file is looked at. `path` stands in messages, and its folder before relative paths.
AT_NODISCARD bool at_pairs_parse(struct at_log *log, const char *path, const void *bytes, size_t size,
                                 struct at_pairs *pairs);
void at_pairs_finish(struct at_pairs *pairs); // a zeroed one is fine

// Both pictures as RGB, size x size: resized so that the shorter side fits, then the middle. The caller frees both with
// at_image_finish.
AT_NODISCARD bool at_pair_load(struct at_log *log, const struct at_pair *pair, int size, struct at_image *win,
                               struct at_image *lose);

#endif
