// SPDX-License-Identifier: Apache-2.0
// What group_norm, group_norm_stats and their adjoints share. A sample's rows are cut into chunks that stay in cache,
// whatever the threads: each chunk gives two numbers a group, which are then combined. Inner loops run over the channels
// of all groups, as a group may have few, and take one row at a time, as the memory likes it.
// attr: i[0] groups, i[1] enum at_act (NONE or SILU), f[0] eps.
// stats (N,groups,2): mean and 1 / sqrt(variance + eps) of each group. sums (N,2,C): see group_norm_sums.
#ifndef CORE_OPS_GROUP_NORM_H
#define CORE_OPS_GROUP_NORM_H

#include "core/ops/build.h"
#include "core/ops/lowering.h"
#include "core/ops/op.h"

#define GROUP_NORM_GRAIN 16384 // elements of a chunk, about

struct group_norm {
    int64_t n, hw, c; // x as (n, hw, c)
    int64_t groups, width; // a group has `width` channels
    int64_t chunks; // of a sample
    bool silu;
};

static inline struct group_norm group_norm_of(const struct at_node *node, const struct at_node *x)
{
    struct group_norm d = {.n = x->shape.dim[0], .c = at_shape_last(x->shape), .groups = node->attr.i[0]};
    d.hw = at_shape_rows(x->shape) / d.n;
    d.width = d.c / d.groups;
    int64_t rows = d.c < GROUP_NORM_GRAIN ? GROUP_NORM_GRAIN / d.c : 1;
    d.chunks = (d.hw + rows - 1) / rows;
    d.silu = node->attr.i[1] == AT_ACT_SILU;
    return d;
}

static inline struct at_shape group_norm_stats_shape(const struct group_norm *d)
{
    return AT_SHAPE(d->n, d->groups, 2);
}

// Scratch of statistics: pairs (n, chunks, groups, 2), then 2 c for each thread.
static inline size_t group_norm_scratch(const struct group_norm *d, int threads)
{
    return (size_t)(d->n * d->groups * 2 * d->chunks + threads * 2 * d->c);
}

// Checks the attributes and the shapes of x = in[first] and whatever precedes it; y is like x.
static inline bool group_norm_infer_x(struct at_node *n, int first, char *why, size_t size)
{
    struct at_shape x = n->in[first]->shape;
    int channels = (int)at_shape_last(x);
    if (x.rank < 2)
        return at_infer_fail(why, size, "x must be (N,..,C)");
    if (n->attr.i[0] < 1 || channels % n->attr.i[0])
        return at_infer_fail(why, size, "%d groups do not divide %d channels", n->attr.i[0], channels);
    if (n->attr.i[1] != AT_ACT_NONE && n->attr.i[1] != AT_ACT_SILU)
        return at_infer_fail(why, size, "the activation must be none or SiLU, not %d", n->attr.i[1]);
    if (!(n->attr.f[0] > 0))
        return at_infer_fail(why, size, "eps must be positive");
    if (first && !at_shape_equal(n->in[0]->shape, x))
        return at_infer_fail(why, size, "dy and x must have one shape");
    n->shape = x;
    n->dtype = n->in[first]->dtype;
    return true;
}

// The same, and gamma, beta and, where they are there, stats behind x.
static inline bool group_norm_infer(struct at_node *n, int first, char *why, size_t size)
{
    if (!group_norm_infer_x(n, first, why, size))
        return false;
    struct group_norm d = group_norm_of(n, n->in[first]);
    struct at_shape c = AT_SHAPE(d.c);
    const struct at_node *stats = n->in[first + 3];
    if (!at_shape_equal(n->in[first + 1]->shape, c) || !at_shape_equal(n->in[first + 2]->shape, c))
        return at_infer_fail(why, size, "gamma and beta must be (C) where x is (N,..,C)");
    if (stats && !at_shape_equal(stats->shape, group_norm_stats_shape(&d)))
        return at_infer_fail(why, size, "the statistics must be (N,groups,2)");
    return true;
}

// Shapes and attributes for the Vulkan kernels; addresses are to be added.
static inline struct at_lower_norm group_norm_lowering(const struct at_node *node, const struct at_node *x)
{
    struct group_norm d = group_norm_of(node, x);
    return (struct at_lower_norm){.n = d.n,
                                  .hw = d.hw,
                                  .c = d.c,
                                  .groups = d.groups,
                                  .act = node->attr.i[1],
                                  .eps = node->attr.f[0]};
}

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

enum { NORM_MEAN, NORM_RSTD }; // what stats holds of a group

static inline int64_t group_norm_begin(const struct group_norm *d, int64_t chunk)
{
    return d->hw * chunk / d->chunks;
}

// Sums c values by group, into every second element of pair.
static inline void group_norm_gather(const struct group_norm *d, const real *values, real *pair)
{
    for (int64_t g = 0; g < d->groups; g++) {
        double total = 0;
        for (int64_t i = 0; i < d->width; i++)
            total += (double)values[g * d->width + i];
        pair[2 * g] = (real)total;
    }
}

// One statistic of sample n's groups as an array over channels.
static inline void group_norm_spread(const struct group_norm *d, const real *stats, int64_t n, int which, real *values)
{
    for (int64_t g = 0; g < d->groups; g++)
        for (int64_t i = 0; i < d->width; i++)
            values[g * d->width + i] = stats[(n * d->groups + g) * 2 + which];
}

// Adds to sum[i] the x[i] - from[i] of a row, or with `squares` their squares.
static inline void group_norm_add(real *restrict sum, const real *x, const real *from, int64_t c, bool squares)
{
#pragma omp simd
    for (int64_t i = 0; i < c; i++) {
        real e = real_fence(x[i] - from[i]);
        sum[i] += squares ? e * e : e;
    }
}

// pair[2g] = mean, pair[2g + 1] = sum of squared deviations from it, of group g in a chunk. local: 2 c.
// The mean is summed about the first row, or values far from zero would lose it in the rounding of their sum.
static inline void group_norm_chunk(const struct group_norm *d, const real *x, int64_t rows, real *pair,
                                    real *restrict local)
{
    real *restrict mean = local, *restrict square = local + d->c;
    memset(local, 0, (size_t)(2 * d->c) * sizeof(*local));
    for (int64_t row = 1; row < rows; row++)
        group_norm_add(mean, x + row * d->c, x, d->c, false);
    for (int64_t g = 0; g < d->groups; g++) {
        double total = 0;
        for (int64_t i = g * d->width; i < (g + 1) * d->width; i++)
            total += (double)mean[i] + (double)rows * (double)x[i];
        pair[2 * g] = (real)(total / (double)(rows * d->width));
        for (int64_t i = 0; i < d->width; i++)
            mean[g * d->width + i] = pair[2 * g];
    }
    for (int64_t row = 0; row < rows; row++)
        group_norm_add(square, x + row * d->c, mean, d->c, true);
    group_norm_gather(d, square, pair + 1);
}

// stats of x; chunks are merged as in Chan, Golub & LeVeque 1983. The team meets inside, twice.
// scratch: group_norm_scratch.
static inline void group_norm_make_stats(const struct at_kernel *k, const struct group_norm *d, const real *x,
                                         real *scratch, real *stats)
{
    real *pairs = scratch, *local = pairs + d->n * d->chunks * d->groups * 2 + k->thread * 2 * d->c;
    struct at_share s = at_share_of(k, d->n * d->chunks);
    for (int64_t u = s.begin; u < s.end; u++) {
        int64_t n = u / d->chunks, begin = group_norm_begin(d, u % d->chunks);
        int64_t rows = group_norm_begin(d, u % d->chunks + 1) - begin;
        group_norm_chunk(d, x + (n * d->hw + begin) * d->c, rows, pairs + u * d->groups * 2, local);
    }
    at_team_wait(k);
    s = at_share_of(k, d->n * d->groups);
    for (int64_t u = s.begin; u < s.end; u++) {
        const real *pair = pairs + (u / d->groups * d->chunks * d->groups + u % d->groups) * 2;
        int64_t stride = 2 * d->groups;
        double mean = 0, square = 0, total = (double)(d->hw * d->width);
        for (int64_t i = 0; i < d->chunks; i++) {
            double count = (double)((group_norm_begin(d, i + 1) - group_norm_begin(d, i)) * d->width);
            mean += count / total * (double)pair[i * stride];
        }
        for (int64_t i = 0; i < d->chunks; i++) {
            double count = (double)((group_norm_begin(d, i + 1) - group_norm_begin(d, i)) * d->width);
            double e = (double)pair[i * stride] - mean;
            square += (double)pair[i * stride + 1] + count * e * e;
        }
        stats[u * 2 + NORM_MEAN] = (real)mean;
        stats[u * 2 + NORM_RSTD] = (real)(1 / sqrt(square / total + (double)k->node->attr.f[0]));
    }
    at_team_wait(k);
}

// Derivative of SiLU.
static inline real group_norm_slope(real x)
{
    real p = real_sigmoid(x);
    return p * (1 + x * (1 - p));
}
#endif

#endif
