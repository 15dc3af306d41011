// SPDX-License-Identifier: Apache-2.0
// The tokenizer of the embedded model: every word of the captions is one token.
#ifndef DATASETS_EMOJI_TOKENIZER_H
#define DATASETS_EMOJI_TOKENIZER_H

#include "datasets/emoji.h"

// Tokens a caption is padded to, with start and end.
enum { AT_EMOJI_TOKENS = 16 };

// Replaces the folder `dir` by a tokenizer (see bpe.h) for the captions of the set. Equal sets give equal files.
AT_NODISCARD bool at_emoji_tokenizer_save(struct at_log *log, const struct at_emoji_set *set, const char *dir);

#endif
