// SPDX-License-Identifier: Apache-2.0
// What the host kernels of products share: the epilogue, and gathering image patches into matrix rows.
#ifndef CORE_CPU_PRODUCT_H
#define CORE_CPU_PRODUCT_H

#include "core/cpu/kernel.h"
#include "core/ops/build.h"

#define AT_PATCH_REALS (384 * 1024) // scratch of a thread for gathered patches: most of an L2 cache

// Before a product writes rows [row, row + rows) x columns [col, col + cols) of y (row stride n): puts the residual
// there. Returns the beta that the product must use.
static inline real at_epilogue_begin(const struct at_kernel *k, int64_t row, int64_t rows, int64_t col, int64_t cols,
                                     int64_t n)
{
    const real *residual = k->in[3];
    real *y = k->out;
    if (!residual)
        return 0;
    if (residual != y)
        for (int64_t i = row; i < row + rows; i++)
            memcpy(y + i * n + col, residual + i * n + col, (size_t)cols * sizeof(real));
    return 1;
}

// After it: adds the bias and applies the activation.
static inline void at_epilogue_end(const struct at_kernel *k, int64_t row, int64_t rows, int64_t col, int64_t cols,
                                   int64_t n)
{
    const real *bias = k->in[2];
    int act = k->node->attr.i[7];
    for (int64_t i = row; i < row + rows; i++) {
        real *y = (real *)k->out + i * n + col;
        if (bias)
            for (int64_t j = 0; j < cols; j++)
                y[j] += bias[col + j];
        switch (act) {
        case AT_ACT_NONE:
            break;
        case AT_ACT_SILU:
            for (int64_t j = 0; j < cols; j++)
                y[j] *= real_sigmoid(y[j]);
            break;
        case AT_ACT_GELU:
            for (int64_t j = 0; j < cols; j++)
                y[j] *= (real)0.5 * (1 + real_erf(y[j] * (real)0.70710678118654752));
            break;
        default:
            for (int64_t j = 0; j < cols; j++)
                y[j] *= real_sigmoid((real)1.702 * y[j]);
        }
    }
}

// The geometry of a convolution: x (n,h,w,c), kernel kh x kw, y (n,oh,ow,o).
struct at_conv {
    int64_t n, h, w, c, kh, kw, oh, ow, o;
    int64_t stride, top, left;
};

static inline struct at_conv at_conv_of(const struct at_node *node, struct at_shape x, struct at_shape w,
                                        struct at_shape y)
{
    return (struct at_conv){x.dim[0], x.dim[1], x.dim[2], x.dim[3], w.dim[1], w.dim[2], y.dim[1],
                            y.dim[2], w.dim[0], node->attr.i[0], node->attr.i[1], node->attr.i[2]};
}

// Gathers into rows of `cols`: for output pixels [p0, p1) of x, columns [k0, k1) of the patch (kh,kw,c).
static inline void at_gather_patches(const struct at_conv *g, const real *x, int64_t p0, int64_t p1, int64_t k0,
                                     int64_t k1, real *cols)
{
    for (int64_t p = p0; p < p1; p++) {
        int64_t ox = p % g->ow, oy = p / g->ow % g->oh, n = p / (g->ow * g->oh);
        int64_t iy0 = oy * g->stride - g->top, ix0 = ox * g->stride - g->left;
        for (int64_t k = k0; k < k1;) {
            int64_t tap = k / g->c, from = k % g->c, take = g->c - from;
            take = take < k1 - k ? take : k1 - k;
            int64_t iy = iy0 + tap / g->kw, ix = ix0 + tap % g->kw;
            if (iy >= 0 && iy < g->h && ix >= 0 && ix < g->w)
                memcpy(cols, x + ((n * g->h + iy) * g->w + ix) * g->c + from, (size_t)take * sizeof(real));
            else
                memset(cols, 0, (size_t)take * sizeof(real));
            cols += take;
            k += take;
        }
    }
}

#endif
