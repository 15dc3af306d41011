// SPDX-License-Identifier: Apache-2.0
// The Vulkan kernels that several ops share, each with the call that dispatches it.
#ifndef CORE_OPS_LOWERING_H
#define CORE_OPS_LOWERING_H

#include "core/vulkan/lower.h"

// --- shaders/elementwise.comp: y[i] = f(a[i], b[i]) ----------------------------------------------------------------
enum at_map {
    AT_MAP_ADD,     // a + b
    AT_MAP_MUL,     // a b
    AT_MAP_SCALE,   // p a + q
    AT_MAP_FILL,    // p
    AT_MAP_ACT,     // act(a)
    AT_MAP_ACT_BWD, // a act'(b)
    AT_MAP_LERP,    // a + (1 - scalars[0]) (b - a)
};
struct at_lower_map {
    enum at_map kind;
    int act; // enum at_act
    uint64_t a, b, y, scalars;
    uint32_t n;
    float p, q;
};
AT_NODISCARD bool at_lower_elementwise(struct at_lower *l, const struct at_lower_map *map);

// --- the others: each struct is the kernel's push constants, explained in shaders/<name>.comp ----------------------
// y = x + b[outer] or x b[outer]; x (outer, middle, C).
struct at_broadcast {
    uint64_t x, b, y;
    uint32_t n, block, c, pad;
};
enum at_broadcast_kind { AT_BROADCAST_ADD, AT_BROADCAST_MUL };
AT_NODISCARD bool at_lower_broadcast(struct at_lower *l, enum at_broadcast_kind kind, const struct at_broadcast *push);

// Channels of a (rows, from), of b, and zeros to y (rows, c). b 0: absent.
struct at_channels {
    uint64_t a, b, y;
    uint32_t rows, c, from, first, lo, hi;
};
AT_NODISCARD bool at_lower_channels(struct at_lower *l, const struct at_channels *push);

// y = x, n elements of four bytes.
struct at_copy {
    uint64_t x, y;
    uint32_t n, pad;
};
AT_NODISCARD bool at_lower_copy(struct at_lower *l, const struct at_copy *push);

// Rows of x by number.
struct at_gather {
    uint64_t x, ids, y;
    uint32_t rows, width, limit, stride;
};
enum at_gather_kind { AT_GATHER_READ, AT_GATHER_PLACE };
// `type`: of x; halves are read only.
AT_NODISCARD bool at_lower_gather(struct at_lower *l, enum at_gather_kind kind, enum at_dtype type,
                                  const struct at_gather *push);

// From a small image to a large one, or back.
AT_NODISCARD bool at_lower_upsample(struct at_lower *l, bool back);

// Neighbours' differences along attr.i[0].
AT_NODISCARD bool at_lower_diff(struct at_lower *l, bool back);

// Rows of two halves: m (rows, 2C), o and r (rows, C), n = rows C; `per` rows a sample.
struct at_halves {
    uint64_t m, o, r, y;
    uint32_t n, c, per, pad;
};
enum at_halves_kind { AT_HALVES_GEGLU, AT_HALVES_GEGLU_BWD, AT_HALVES_SAMPLE, AT_HALVES_SAMPLE_BWD, AT_HALVES_KL_BWD };
AT_NODISCARD bool at_lower_halves(struct at_lower *l, enum at_halves_kind kind, const struct at_halves *push);

// x: the gradient, or the weights.
struct at_adamw_push {
    uint64_t x, moments, scalars;
    uint32_t n, pad;
};
enum at_adamw_kind { AT_ADAMW_MOMENTS, AT_ADAMW_WEIGHTS };
AT_NODISCARD bool at_lower_adamw(struct at_lower *l, enum at_adamw_kind kind, const struct at_adamw_push *push);

// --- sums: shaders/reduce.comp, sum_rows.comp ----------------------------------------------------------------------
enum at_sum {
    AT_SUM_SQ_ERR,     // (a - b)^2
    AT_SUM_ABS_ERR,    // |a - b|
    AT_SUM_SQ,         // a^2
    AT_SUM_PLAIN,      // a
    AT_SUM_KL,         // of rows of 2c numbers in a; count = rows c
    AT_SUM_MASKED = 6, // m[i / c] (a - b)^2 over c times the sum of m
};
// y[s] = scale times the sum over the `count` values of sample s. scratch: at_lower_sum_scratch bytes.
struct at_lower_sum {
    enum at_sum kind;
    uint64_t a, b, m, y, scratch;
    uint32_t samples, count, c;
    float scale;
};
size_t at_lower_sum_scratch(int64_t samples, int64_t count, bool masked);
AT_NODISCARD bool at_lower_sum(struct at_lower *l, const struct at_lower_sum *sum);

// x (outer, middle, c) -> y (outer, c). scratch: at_lower_columns_scratch bytes.
struct at_lower_columns {
    uint64_t x, y, scratch;
    uint32_t outer, middle, c;
};
size_t at_lower_columns_scratch(int64_t outer, int64_t middle, int64_t c);
AT_NODISCARD bool at_lower_columns(struct at_lower *l, const struct at_lower_columns *columns);

// Adjoints of the errors: shaders/err_bwd.comp, its push constants. w: the masks' sums.
struct at_err_bwd {
    uint64_t dm, y, t, m, w, z;
    uint32_t n, count, c, pad;
};
enum at_err_bwd_kind { AT_ERR_BWD_SQ, AT_ERR_BWD_ABS, AT_ERR_BWD_MASKED };
AT_NODISCARD bool at_lower_err_bwd(struct at_lower *l, enum at_err_bwd_kind kind, const struct at_err_bwd *push);

// --- norms: shaders/norm_stats.comp, norm_apply.comp, sum_rows.comp, layer_norm.comp -------------------------------
// x (n, hw, c) with `groups` groups. A layer norm is one of n rows, hw = groups = 1.
struct at_lower_norm {
    uint64_t x, dy, gamma, beta, y, scratch; // dy 0: the norm itself
    uint64_t stats, sums; // (n, groups, 2), (n, 2, c)
    int64_t n, hw, c, groups;
    int act; // enum at_act
    float eps;
};
// Bytes of stats.
size_t at_lower_norm_stats_bytes(const struct at_lower_norm *norm);
// stats of x. scratch: at_lower_norm_scratch.
size_t at_lower_norm_scratch(const struct at_lower_norm *norm);
AT_NODISCARD bool at_lower_norm_stats(struct at_lower *l, const struct at_lower_norm *norm);
// y = act(norm(x)) from stats, or its adjoint for x from stats and sums. scratch of the adjoint: stats' size.
AT_NODISCARD bool at_lower_group_norm(struct at_lower *l, const struct at_lower_norm *norm);
// y (n, 2, c): sums, from stats. scratch: at_lower_norm_sums_scratch.
size_t at_lower_norm_sums_scratch(const struct at_lower_norm *norm);
AT_NODISCARD bool at_lower_norm_sums(struct at_lower *l, const struct at_lower_norm *norm);
// y (2, c) = [dgamma | dbeta] of a layer norm. scratch: at_lower_layer_norm_dw_scratch.
size_t at_lower_layer_norm_dw_scratch(const struct at_lower_norm *norm);
AT_NODISCARD bool at_lower_layer_norm_dw(struct at_lower *l, const struct at_lower_norm *norm);
// y = norm(x) of a layer norm, or its adjoint for x; no stats, no scratch.
AT_NODISCARD bool at_lower_layer_norm(struct at_lower *l, const struct at_lower_norm *norm);

#endif
