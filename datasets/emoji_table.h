// SPDX-License-Identifier: Apache-2.0
// Unicode's emoji-test.txt, line by line.
#ifndef DATASETS_EMOJI_TABLE_H
#define DATASETS_EMOJI_TABLE_H

#include "core/base/arena.h"
#include "datasets/emoji.h"

// Appends every fully-qualified row of the table at `path` to *items; strings go to the arena. On failure *items may
// hold rows and is still the caller's to free.
AT_NODISCARD bool at_emoji_table_read(struct at_log *log, const char *path, struct at_arena *arena,
                                      struct at_emoji **items, size_t *count);
// Lower case, accents of Latin-1 dropped, apostrophes removed, every other run of non-alphanumerics one space.
// NULL: no memory. *words is how many there are.
char *at_emoji_caption(struct at_arena *arena, const char *name, int *words);

#endif
