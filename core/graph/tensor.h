// SPDX-License-Identifier: Apache-2.0
// Shapes and element types. Tensors are contiguous, row-major; images are channels last, (N,H,W,C).
#ifndef CORE_GRAPH_TENSOR_H
#define CORE_GRAPH_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AT_RANK 4

enum at_dtype {
    AT_F32, // float on a device, double in the oracle
    AT_I32,
    AT_F16,  // IEEE binary16 and
    AT_BF16, // bfloat16: of leaves that an operator takes as they are (struct at_op, `half`); arithmetic is AT_F32's
};

static inline bool at_dtype_half(enum at_dtype t)
{
    return t == AT_F16 || t == AT_BF16;
}
// Bytes of an element where reals have real_size.
static inline size_t at_dtype_size(enum at_dtype t, size_t real_size)
{
    return at_dtype_half(t) ? 2 : t == AT_I32 ? 4 : real_size;
}
const char *at_dtype_name(enum at_dtype t); // "f16"

struct at_shape {
    int rank; // 1 .. AT_RANK
    int64_t dim[AT_RANK];
};

// AT_SHAPE(n, h, w, c): a shape from 1 to 4 sizes.
#define AT_SHAPE(...)                                                                                                  \
    ((struct at_shape){.rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = {__VA_ARGS__}})

// Number of elements.
int64_t at_shape_count(struct at_shape s);
// Size of the last dimension.
int64_t at_shape_last(struct at_shape s);
// Product of all but the last dimension.
int64_t at_shape_rows(struct at_shape s);
bool at_shape_equal(struct at_shape a, struct at_shape b);
// "(2,8,8,128)" into text; returns text.
#define AT_SHAPE_TEXT 96
const char *at_shape_text(struct at_shape s, char text[AT_SHAPE_TEXT]);

#endif
