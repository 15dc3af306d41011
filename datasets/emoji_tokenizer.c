// SPDX-License-Identifier: Apache-2.0
#include "datasets/emoji_tokenizer.h"

#include "core/base/alloc.h"

struct at_bpe *at_emoji_tokenizer(struct at_log *log, const struct at_emoji_set *set, size_t max_merges)
{
    const char **captions = at_calloc(set->count, sizeof(*captions));
    if (!captions) {
        at_fail_memory(log, set->count * sizeof(*captions));
        return NULL;
    }
    for (size_t i = 0; i < set->count; i++)
        captions[i] = set->items[i].caption;
    struct at_bpe_params params = {.captions = captions, .count = set->count, .max_merges = max_merges};
    struct at_bpe *bpe = at_bpe_train(log, &params);
    at_free(captions);
    return bpe;
}
