// SPDX-License-Identifier: Apache-2.0
#include "core/graph/tensor.h"

#include <inttypes.h>
#include <stdio.h>

const char *at_dtype_name(enum at_dtype t)
{
    static const char *const names[] = {[AT_F32] = "f32", [AT_I32] = "i32", [AT_F16] = "f16", [AT_BF16] = "bf16"};
    return names[t];
}

int64_t at_shape_count(struct at_shape s)
{
    int64_t n = 1;
    for (int i = 0; i < s.rank; i++)
        n *= s.dim[i];
    return n;
}

int64_t at_shape_last(struct at_shape s)
{
    return s.dim[s.rank - 1];
}

int64_t at_shape_rows(struct at_shape s)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < s.rank; i++)
        n *= s.dim[i];
    return n;
}

bool at_shape_equal(struct at_shape a, struct at_shape b)
{
    if (a.rank != b.rank)
        return false;
    for (int i = 0; i < a.rank; i++)
        if (a.dim[i] != b.dim[i])
            return false;
    return true;
}

const char *at_shape_text(struct at_shape s, char text[AT_SHAPE_TEXT])
{
    int used = snprintf(text, AT_SHAPE_TEXT, "(");
    for (int i = 0; i < s.rank; i++)
        used += snprintf(text + used, (size_t)(AT_SHAPE_TEXT - used), "%s%" PRId64, i ? "," : "", s.dim[i]);
    snprintf(text + used, (size_t)(AT_SHAPE_TEXT - used), ")");
    return text;
}
