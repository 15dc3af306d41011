// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"
#include "core/io/safetensors.h"
#include "tests/fuzz/target.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct at_safetensors *st = at_safetensors_parse(NULL, "fuzz", data, size);
    for (size_t i = 0; st && i < at_safetensors_count(st); i++) {
        const struct at_st_tensor *t = at_safetensors_at(st, i);
        uint64_t sum = 0;
        if (t->data < data || t->data + t->bytes > data + size || at_safetensors_find(st, t->name) != t)
            abort(); // accepted, but it lies outside the file or cannot be found
        for (uint64_t j = 0; j < t->bytes; j++)
            sum += t->data[j];
        float *values = at_calloc(t->elements, sizeof(*values));
        if (values && at_safetensors_to_f32(st, t, values) && t->dtype == AT_ST_BOOL && sum)
            abort(); // BOOL is never converted
        at_free(values);
    }
    at_safetensors_destroy(&st);
    return 0;
}
