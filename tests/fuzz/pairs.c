// SPDX-License-Identifier: Apache-2.0
#include "core/io/image.h"
#include "datasets/pairs.h"
#include "tests/fuzz/target.h"

#include <stdlib.h>
#include <string.h>

static void ignore(void *priv, enum at_level level, const char *text)
{
    (void)priv, (void)level, (void)text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct at_log log = {.write = ignore};
    struct at_pairs pairs;
    bool ok = at_pairs_parse(&log, "fuzz/pairs.jsonl", data, size, &pairs);
    if (ok != (log.error == AT_ERROR_NONE) || ok != (pairs.count > 0))
        abort(); // a failure without a word, or the other way round
    for (size_t i = 0; i < pairs.count; i++) {
        const struct at_pair *p = &pairs.items[i];
        if (!*p->prompt || strcmp(p->win, p->lose) == 0 || p->line == 0)
            abort();
    }
    at_pairs_finish(&pairs);
    return 0;
}
