// SPDX-License-Identifier: Apache-2.0
// What attention and its adjoint share on the host. Queries stand side by side, as the columns of a matrix with a row for
// each key: the largest score of a query and the sum of its exponentials are then vectors over rows, and the matrix of
// scores is in place for the products that follow, with no transposing and no packing.
#ifndef CORE_OPS_ATTENTION_H
#define CORE_OPS_ATTENTION_H

#include "core/ops/build.h"
#include "core/ops/op.h"

#define AT_QUERIES 64  // side by side
#define AT_STRIPS 4    // of queries that meet a block of keys while it is in a cache
#define AT_KEYS 96     // of a block
#define AT_ATTENTION_PAD(n) (((n) + 15) / 16 * 16) // what rows of whole vectors take

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// Queries [first, first + count) of a head and a block of its keys, [begin, begin + keys).
struct at_scores_block {
    int64_t first, count, begin, keys;
    bool causal;
};

// Whether no query of the block sees any of its keys.
static inline bool at_scores_unseen(const struct at_scores_block *b)
{
    return b->causal && b->begin >= b->first + b->count;
}

// s = x where a query does not see a key: those before it.
static inline void at_scores_hide(const struct at_scores_block *b, real *s, real x)
{
    for (int64_t j = 0; b->causal && j < b->keys; j++)
        for (int64_t i = 0; i < AT_QUERIES && i < b->begin + j - b->first; i++)
            s[j * AT_QUERIES + i] = x;
}

// top[i] = the largest of column i of s (keys, AT_QUERIES), and of top[i] unless `fresh`.
static inline void at_scores_top(const struct at_scores_block *b, const real *s, bool fresh, real *top)
{
    int64_t w = AT_ATTENTION_PAD(b->count), j = 0;
    if (fresh)
        memcpy(top, s, (size_t)w * sizeof(*top));
    for (; j + 4 <= b->keys; j += 4, s += 4 * AT_QUERIES)
#pragma omp simd
        for (int64_t i = 0; i < w; i++) {
            real x = s[i] > s[AT_QUERIES + i] ? s[i] : s[AT_QUERIES + i];
            real y = s[2 * AT_QUERIES + i] > s[3 * AT_QUERIES + i] ? s[2 * AT_QUERIES + i] : s[3 * AT_QUERIES + i];
            x = x > y ? x : y;
            top[i] = x > top[i] ? x : top[i];
        }
    for (; j < b->keys; j++, s += AT_QUERIES)
#pragma omp simd
        for (int64_t i = 0; i < w; i++)
            top[i] = s[i] > top[i] ? s[i] : top[i];
}

// s = exp(s - top), and sum += its columns.
static inline void at_scores_exp(const struct at_scores_block *b, real *s, const real *top, real *sum)
{
    int64_t w = AT_ATTENTION_PAD(b->count), j = 0;
    for (; j + 2 <= b->keys; j += 2, s += 2 * AT_QUERIES)
#pragma omp simd
        for (int64_t i = 0; i < w; i++) {
            real x = s[i] = real_exp(s[i] - top[i]), y = s[AT_QUERIES + i] = real_exp(s[AT_QUERIES + i] - top[i]);
            sum[i] += x + y;
        }
    for (; j < b->keys; j++, s += AT_QUERIES)
#pragma omp simd
        for (int64_t i = 0; i < w; i++)
            sum[i] += s[i] = real_exp(s[i] - top[i]);
}

// Scores s of a block (keys, AT_QUERIES) become exp(s - top), 0 where a query does not see a key. `top` is the largest
// score of a query so far and `sum` that of exp(score - top); shrink = exp(old top - top). `fresh`: the first block.
static inline void at_scores_weigh(const struct at_scores_block *b, real *s, bool fresh, real *top, real *sum,
                                   real *shrink)
{
    real old[AT_QUERIES];
    int64_t w = AT_ATTENTION_PAD(b->count);
    at_scores_hide(b, s, (real)-1e30);
    memcpy(old, top, (size_t)w * sizeof(*old));
    at_scores_top(b, s, fresh, top);
    for (int64_t i = 0; i < w; i++) {
        shrink[i] = fresh ? 0 : real_exp(old[i] - top[i]);
        sum[i] = fresh ? 0 : sum[i] * shrink[i];
    }
    at_scores_exp(b, s, top, sum);
    at_scores_hide(b, s, 0);
}

// Rows [0, count) of x (row stride `width`, d columns) as the columns of `to` (d, AT_QUERIES), times scale.
static inline void at_queries_turn(int64_t count, int64_t d, real scale, const real *x, int64_t width, real *to)
{
    if (count < AT_ATTENTION_PAD(count))
        memset(to, 0, (size_t)(d * AT_QUERIES) * sizeof(*to));
    real_turn(count, d, scale, x, width, to, AT_QUERIES);
}
#endif // AT_KERNEL

#endif
