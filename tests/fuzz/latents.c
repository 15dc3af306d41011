// SPDX-License-Identifier: Apache-2.0
#include "datasets/latents.h"
#include "tests/fuzz/target.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct at_latents l;
    if (!at_latents_parse(NULL, "fuzz", data, size, &l))
        return 0;
    size_t n = (size_t)l.count * (size_t)l.channels * (size_t)l.height * (size_t)l.width;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(l.values[i]))
            abort(); // accepted, and no number
    for (int i = 0; l.prompts && i < l.count; i++)
        if (strlen(l.prompts[i]) > size)
            abort();
    at_latents_finish(&l);
    return 0;
}
