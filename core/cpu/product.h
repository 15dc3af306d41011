// SPDX-License-Identifier: Apache-2.0
// What products share: scratch memory, the epilogue, and the addresses of image patches.
#ifndef CORE_CPU_PRODUCT_H
#define CORE_CPU_PRODUCT_H

#include "core/ops/build.h"
#include "core/ops/op.h"

#define AT_CONV_ROWS 480 // pixels that a thread takes at a time

// Reals, of a thread, that hold `zeros` reals and `addresses` addresses; a multiple of 16.
static inline int64_t at_conv_scratch(int64_t zeros, int64_t addresses)
{
    return (zeros + 15) / 16 * 16 + (addresses * 2 + 15) / 16 * 16;
}

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// Before a product writes rows [row, row + rows) x columns [col, col + cols) of y (row stride n): puts the residual
// there. Returns whether the product must add to it.
static inline bool at_epilogue_begin(const struct at_kernel *k, int64_t row, int64_t rows, int64_t col, int64_t cols,
                                     int64_t n)
{
    const real *residual = k->in[3];
    real *y = k->out;
    if (!residual)
        return false;
    if (residual != y)
        for (int64_t i = row; i < row + rows; i++)
            memcpy(y + i * n + col, residual + i * n + col, (size_t)cols * sizeof(real));
    return true;
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
        case AT_ACT_QUICK_GELU:
            for (int64_t j = 0; j < cols; j++)
                y[j] *= real_sigmoid((real)1.702 * y[j]);
            break;
        case AT_ACT_RELU:
            for (int64_t j = 0; j < cols; j++)
                y[j] = y[j] < 0 ? 0 : y[j];
            break;
        default:
            for (int64_t j = 0; j < cols; j++)
                y[j] = real_tanh(y[j]);
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

// From output pixel (n,oy,ox) to the next one.
static inline void at_pixel_next(const struct at_conv *g, int64_t *ox, int64_t *oy, int64_t *n)
{
    if (++*ox < g->ow)
        return;
    *ox = 0;
    if (++*oy < g->oh)
        return;
    *oy = 0;
    ++*n;
}

// Addresses of what output pixels [p0, p1) meet in x: rows[tap (p1 - p0) + p - p0], `zeros` (c reals) outside.
static inline void at_patch_rows(const struct at_conv *g, const real *x, int64_t p0, int64_t p1, const real *zeros,
                                 const real **rows)
{
    int64_t count = p1 - p0, ox = p0 % g->ow, oy = p0 / g->ow % g->oh, n = p0 / (g->ow * g->oh);
    for (int64_t p = 0; p < count; p++) {
        const real **row = rows + p;
        for (int64_t iy = oy * g->stride - g->top, ky = 0; ky < g->kh; ky++, iy++)
            for (int64_t ix = ox * g->stride - g->left, kx = 0; kx < g->kw; kx++, ix++, row += count)
                *row = iy >= 0 && iy < g->h && ix >= 0 && ix < g->w ? x + ((n * g->h + iy) * g->w + ix) * g->c : zeros;
        at_pixel_next(g, &ox, &oy, &n);
    }
}

#endif // AT_KERNEL

#endif
