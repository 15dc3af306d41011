// SPDX-License-Identifier: Apache-2.0
// Matrix products on Vulkan: what matmul, the convolutions and attention share to lower themselves. All of them are
// y = act(alpha A B + bias) + residual with operands that are read in different ways (shaders/lib/product.glsl).
#ifndef CORE_OPS_PRODUCT_H
#define CORE_OPS_PRODUCT_H

#include "core/vulkan/lower.h"

#include <stddef.h>

// The push constants that every product kernel starts with (PRODUCT_HEAD). `form` is filled in by at_lower_product.
struct at_product_head {
    uint64_t a, b, y, bias, residual; // addresses; 0: no bias, no residual
    uint32_t m, n, form;
    float alpha;
};

struct at_product_params {
    const char *kernel;           // without its type
    enum at_dtype b_type;         // of operand b; 0: f32
    struct at_product_head *push; // the kernel's push constants
    uint32_t push_size;
    uint32_t k_segments, k_length; // k is that many runs of that length; a tile does not cross from one into the next
    uint32_t batches;              // 0: 1
    uint32_t splits;               // parts of k, from at_product_splits; needs that scratch; 0: 1
    int act;                       // enum at_act
    bool a_rows, b_rows;           // contiguous along k
    bool a_wide, b_wide, y_wide;   // strides and the contiguous extent are multiples of 4 (addresses are checked here)
    bool y_plain;                  // y is (m,n) without gaps; needed to split
    bool flip;                     // conv2d's taps count backwards
};
// Appends the product: one dispatch, or two with a barrier between them if k is split.
AT_NODISCARD bool at_lower_product(struct at_lower *l, const struct at_product_params *p);

// Into how many parts to split k, so that a product with a small result still fills a large device. It follows from the
// sizes alone, so that the memory plan is the same everywhere.
uint32_t at_product_splits(int64_t m, int64_t n, int64_t k);
// Bytes of scratch for it.
size_t at_product_scratch(int64_t m, int64_t n, int64_t k);

// --- shaders/matmul.comp
// ----------------------------------------------------------------------------------------------- A batch of products.
// Batch z starts z / inner * [0] + z % inner * [1] elements into each tensor.
struct at_product_matmul {
    uint64_t a, b, y, bias, residual;
    uint32_t m, n, k;
    bool ta, tb;             // a is (k,m), b is (n,k)
    enum at_dtype b_type;    // 0: f32
    uint32_t lda, ldb, ldy;  // elements from one line of a, b, y to the next
    uint32_t batches, inner; // 0: a single product
    uint32_t a_batch[2], b_batch[2], y_batch[2];
    float alpha;
    int act;
    uint32_t splits;
};
AT_NODISCARD bool at_lower_matmul(struct at_lower *l, const struct at_product_matmul *p);

// --- shaders/conv2d.comp
// -----------------------------------------------------------------------------------------------
struct at_conv_push {
    struct at_product_head head;
    uint32_t h, w, c, taps;
    uint32_t row_h, row_w;
    int32_t step, from_y, from_x;
    uint32_t ldb, tap_at, tap_y, tap_x;
    uint32_t y_at, y_n, y_v, y_u;
};
_Static_assert(sizeof(struct at_product_head) == 56, "shaders/lib/product.glsl");

#endif
