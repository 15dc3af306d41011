// SPDX-License-Identifier: Apache-2.0
// Inside of the CLIP tokenizer: two hash tables, token text to id and pair of ids to merge. For core/text only.
#ifndef CORE_TEXT_CLIP_VOCAB_H
#define CORE_TEXT_CLIP_VOCAB_H

#include "core/base/arena.h"
#include "core/text/clip_tokenizer.h"

struct at_clip_entry {
    const char *text; // in the arena; NULL: a free slot
    size_t bytes;
    int32_t id;
};

struct at_clip_merge {
    int32_t left, right; // left < 0: a free slot
    int32_t rank, id;
};

// A token that is found in the text as a whole, before anything is split.
struct at_clip_special {
    const char *text; // in the arena
    size_t bytes;
    int32_t id;
    bool normalized; // looked for after NFC and lower case
};

enum { AT_CLIP_SPECIALS = 64 };

struct at_clip_tokenizer {
    struct at_log *log;
    struct at_arena *arena;
    struct at_clip_entry *entries; // capacity: a power of two
    size_t entry_slots;
    struct at_clip_merge *merges;
    size_t merge_slots;
    struct at_clip_special specials[AT_CLIP_SPECIALS];
    int special_count;
    int32_t byte[256], byte_end[256]; // ids of the single bytes, inside a word and at its end
    int32_t bos, eos, unk, pad, size;
    size_t length;
};

// Empty tables for up to n items; false when there is no memory.
AT_NODISCARD bool at_clip_entries_reserve(struct at_clip_tokenizer *t, size_t n);
AT_NODISCARD bool at_clip_merges_reserve(struct at_clip_tokenizer *t, size_t n);
// The table must have been reserved large enough; a known token or pair keeps its first value. Copies the text.
AT_NODISCARD bool at_clip_entry_add(struct at_clip_tokenizer *t, const char *text, size_t bytes, int32_t id);
void at_clip_merge_add(struct at_clip_tokenizer *t, const struct at_clip_merge *merge);
// The id, or -1.
int32_t at_clip_entry_find(const struct at_clip_tokenizer *t, const char *text, size_t bytes);
// The merge, or NULL.
const struct at_clip_merge *at_clip_merge_find(const struct at_clip_tokenizer *t, int32_t left, int32_t right);
// The lines of a list of merges that hold one, without blank lines and the #version.
struct at_clip_lines {
    const char *next, *end, *line;
    size_t bytes, number; // of `line`
};
struct at_clip_lines at_clip_lines(const struct at_clip_file *file);
bool at_clip_lines_next(struct at_clip_lines *lines);
size_t at_clip_lines_count(const struct at_clip_file *file); // at most so many
// CLIP's vocabulary: the bytes, the bytes at the end of a word, what the merges make, start and end of a text.
enum { AT_CLIP_MERGES = 49152 - 256 - 2 };
AT_NODISCARD bool at_clip_vocab_derive(struct at_clip_tokenizer *t, const struct at_clip_files *files);
// The character that spells a byte; returns its bytes in UTF-8.
size_t at_clip_byte_text(uint32_t byte, char text[8]);
// Fills byte and byte_end from the vocabulary; unk where it lacks one. CLIP spells each byte as a printable character.
void at_clip_bytes_fill(struct at_clip_tokenizer *t);

#endif
