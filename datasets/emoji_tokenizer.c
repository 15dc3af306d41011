// SPDX-License-Identifier: Apache-2.0
#include "datasets/emoji_tokenizer.h"

#include "core/base/alloc.h"
#include "datasets/bpe.h"

bool at_emoji_tokenizer_save(struct at_log *log, const struct at_emoji_set *set, const char *dir)
{
    const char **captions = at_calloc(set->count, sizeof(*captions));
    if (!captions)
        return at_fail_memory(log, set->count * sizeof(*captions));
    for (size_t i = 0; i < set->count; i++)
        captions[i] = set->items[i].caption;
    struct at_bpe *bpe = at_bpe_train(log, &(struct at_bpe_params){.captions = captions, .count = set->count});
    bool ok = bpe && at_bpe_save(bpe, dir, AT_EMOJI_TOKENS);
    at_bpe_destroy(&bpe);
    at_free(captions);
    return ok;
}
