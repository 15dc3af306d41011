// SPDX-License-Identifier: Apache-2.0
#include "datasets/prompts.h"
#include "tests/fuzz/target.h"

#include <stdlib.h>

static void check(const char *name, const uint8_t *data, size_t size)
{
    struct at_prompts prompts;
    if (at_prompts_parse(NULL, name, data, size, &prompts)) {
        if (prompts.count == 0)
            abort();
        for (size_t i = 0; i < prompts.count; i++)
            if (!prompts.items[i].text[0] || prompts.items[i].width < 0 || prompts.items[i].steps < 0 ||
                !(prompts.items[i].cfg >= 0))
                abort();
    } else if (prompts.count || prompts.items || prompts.strings) {
        abort();
    }
    at_prompts_finish(&prompts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check("fuzz.txt", data, size);
    check("fuzz.json", data, size);
    return 0;
}
