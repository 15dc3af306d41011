// SPDX-License-Identifier: Apache-2.0
// Makes the tokenizer of a new text encoder: a byte-pair vocabulary in CLIP's format, learnt from captions. What it
// writes is read by at_clip_tokenizer_load and by transformers' CLIPTokenizer.
//
//     struct at_bpe *bpe = at_bpe_train(log, &(struct at_bpe_params){.captions = texts, .count = n});
//     bool ok = bpe && at_bpe_save(bpe, "model/tokenizer", 16);
//     at_bpe_destroy(&bpe);
#ifndef DATASETS_BPE_H
#define DATASETS_BPE_H

#include "core/base/log.h"

#include <stddef.h>

struct at_bpe_params {
    const char *const *captions; // UTF-8; split into words as the tokenizer will split them
    size_t count;                // of captions
    size_t max_merges;           // 0: until every word of the captions is one token
};

struct at_bpe;

// Learns merges (Sennrich et al. 2016, algorithm 1): always the pair of neighbours that occurs most often, each caption
// counted; among equals the one with the lower ids. The order of the captions does not matter. Ids: the 256 bytes, the
// 256 bytes that end a word, what the merges make, <|startoftext|>, <|endoftext|>. Any text can be encoded. NULL with
// the reason in the log, which must outlive the result.
struct at_bpe *at_bpe_train(struct at_log *log, const struct at_bpe_params *params);
// Frees it and sets *bpe to NULL; a pointer to NULL is fine.
void at_bpe_destroy(struct at_bpe **bpe);

size_t at_bpe_size(const struct at_bpe *bpe);   // tokens: the rows of the embedding
size_t at_bpe_merges(const struct at_bpe *bpe); // at least the tokens they make: two may make the same one

// Makes the folder `dir` with vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json, all or
// nothing. An older tokenizer there is replaced; a folder with anything else in it is refused. `length` is
// model_max_length, with start and end: 3 or more.
AT_NODISCARD bool at_bpe_save(const struct at_bpe *bpe, const char *dir, int length);

#endif
