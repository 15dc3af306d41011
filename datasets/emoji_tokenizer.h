// SPDX-License-Identifier: Apache-2.0
// The tokenizer of the embedded model: every word of the captions is one token.
#ifndef DATASETS_EMOJI_TOKENIZER_H
#define DATASETS_EMOJI_TOKENIZER_H

#include "datasets/bpe.h"
#include "datasets/emoji.h"

// Tokens a caption is padded to, with start and end: the length to save with.
enum { AT_EMOJI_TOKENS = 16 };

// Learns from the captions of the set (see bpe.h, also for max_merges). Equal sets give equal files.
struct at_bpe *at_emoji_tokenizer(struct at_log *log, const struct at_emoji_set *set, size_t max_merges);

#endif
