// SPDX-License-Identifier: Apache-2.0
// What layer_norm and its adjoints share. attr: f[0] eps.
#ifndef CORE_OPS_LAYER_NORM_H
#define CORE_OPS_LAYER_NORM_H

#include "core/ops/build.h"
#include "core/ops/op.h"

// Checks eps and that in[i] is (C) for i in [from, to); y is like in[0].
static inline bool layer_norm_infer(struct at_node *n, int from, int to, char *why, size_t size)
{
    struct at_shape c = AT_SHAPE(at_shape_last(n->in[0]->shape));
    if (!(n->attr.f[0] > 0))
        return at_infer_fail(why, size, "eps must be positive");
    for (int i = from; i < to; i++)
        if (!at_shape_equal(n->in[i]->shape, c))
            return at_infer_fail(why, size, "gamma and beta must be (C) where x is (..,C)");
    return at_infer_same(n, why, size);
}

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

struct layer_norm {
    real mean, rstd;
};

static inline struct layer_norm layer_norm_stats(const real *x, int64_t c, real eps)
{
    real sum = 0, square = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < c; i++)
        sum += x[i];
    real mean = sum / (real)c;
#pragma omp simd reduction(+ : square)
    for (int64_t i = 0; i < c; i++)
        square += (x[i] - mean) * (x[i] - mean);
    return (struct layer_norm){mean, 1 / (real)sqrt(square / (real)c + eps)};
}
#endif

#endif
