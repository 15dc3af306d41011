// SPDX-License-Identifier: Apache-2.0
// The byte-pair tokenizer of CLIP text encoders, token for token that of transformers' CLIPTokenizer (5.x): NFC, lower
// case, split into contractions, runs of letters, single digits and runs of other characters, merges by rank.
//
//     struct at_clip_tokenizer *t = at_clip_tokenizer_load("model/tokenizer", log);
//     int32_t ids[77];
//     struct at_clip_encoding e;
//     if (t && at_clip_tokenizer_encode(t, text, strlen(text), ids, 77, &e) && e.cut < strlen(text)) ... // warn
//     at_clip_tokenizer_destroy(&t);
#ifndef CORE_TEXT_CLIP_TOKENIZER_H
#define CORE_TEXT_CLIP_TOKENIZER_H

#include "core/base/log.h"

#include <stddef.h>
#include <stdint.h>

struct at_clip_tokenizer; // immutable once made: threads may share it

// A file in memory; data NULL where there is none.
struct at_clip_file {
    const char *data;
    size_t bytes;
};

// vocab and merges, or tokenizer alone; the rest is optional.
struct at_clip_files {
    struct at_clip_file vocab;     // vocab.json: token to id
    struct at_clip_file merges;    // merges.txt: one merge a line, best first
    struct at_clip_file tokenizer; // tokenizer.json, which transformers 5 saves in place of the two
    struct at_clip_file config;    // tokenizer_config.json: special tokens, model_max_length
    struct at_clip_file specials;  // special_tokens_map.json: overrides the special tokens of config
    const char *name;              // of the folder, for messages
    bool clip; // merges alone are enough: CLIP's vocabulary follows from its merges
};

// From a diffusers tokenizer folder. NULL with the reason in the log.
struct at_clip_tokenizer *at_clip_tokenizer_load(const char *dir, struct at_log *log);
struct at_clip_tokenizer *at_clip_tokenizer_create_from_memory(const struct at_clip_files *files, struct at_log *log);
// The tokenizer of a CLIP text encoder that came without one, from a folder or from one file: vocab.json and merges.txt,
// merges.txt or OpenAI's bpe_simple_vocab_16e6.txt(.gz) alone, or tokenizer.json. The special tokens are CLIP's whatever
// else is there, and `pad` the padding: "<|endoftext|>", or "!" for OpenCLIP's.
struct at_clip_tokenizer *at_clip_tokenizer_load_clip(const char *path, const char *pad, struct at_log *log);
// Writes vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json into the folder, made if need be: what
// at_clip_tokenizer_load reads back as the same tokenizer.
AT_NODISCARD bool at_clip_tokenizer_save(const struct at_clip_tokenizer *tokenizer, const char *dir);
void at_clip_tokenizer_destroy(struct at_clip_tokenizer **tokenizer);

// Longest text that is taken, in bytes.
enum { AT_CLIP_TEXT_MAX = 32768 };

struct at_clip_encoding {
    size_t tokens; // with start and end, before truncation and padding
    size_t cut;    // byte of the text where what was cut off begins; the text's length if nothing was
};

// Exactly `max` ids (2 or more; usually at_clip_tokenizer_length): start, the text's tokens, end, padding. The text is
// UTF-8; bytes that are not count as U+FFFD each. False with the reason in the tokenizer's log: text too long, or no
// memory.
AT_NODISCARD bool at_clip_tokenizer_encode(const struct at_clip_tokenizer *tokenizer, const char *text, size_t bytes,
                                           int32_t *ids, size_t max, struct at_clip_encoding *out);

size_t at_clip_tokenizer_length(const struct at_clip_tokenizer *tokenizer); // model_max_length; 77 where not stated
int32_t at_clip_tokenizer_bos(const struct at_clip_tokenizer *tokenizer);
int32_t at_clip_tokenizer_eos(const struct at_clip_tokenizer *tokenizer);
int32_t at_clip_tokenizer_pad(const struct at_clip_tokenizer *tokenizer);
// One more than the highest id: the text encoder needs at least as many embeddings.
int32_t at_clip_tokenizer_size(const struct at_clip_tokenizer *tokenizer);

#endif
