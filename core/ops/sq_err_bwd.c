// SPDX-License-Identifier: Apache-2.0
// Adjoint of sq_err for y: dy = dm[n] 2 mask (y - target) / (C sum of the sample's mask); without a mask the divisor is
// the sample's number of elements. 0 where a sample's mask is all zero.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// The output may lie in the memory of y or of the target.
static inline void scaled_difference(real *dy, const real *y, const real *t, real a, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dy[i] = a * (y[i] - t[i]);
}

// scale[n] of each sample into the scratch memory.
static void scales(const struct at_kernel *k, int64_t rows, int64_t channels)
{
    const real *dm = k->in[0], *mask = k->in[3];
    double *scale = k->scratch;
    struct at_share s = at_share_of(k, k->node->shape.dim[0]);
    for (int64_t n = s.begin; n < s.end; n++) {
        double weight = 0;
#pragma omp simd reduction(+ : weight)
        for (int64_t r = n * rows; r < (n + 1) * rows; r++)
            weight += (double)mask[r];
        scale[n] = weight == 0 ? 0 : 2 * (double)dm[n] / (weight * (double)channels);
    }
    at_team_wait(k);
}

AT_HOST(sq_err_bwd)
{
    const real *dm = k->in[0], *y = k->in[1], *t = k->in[2], *mask = k->in[3];
    real *dy = k->out;
    const double *scale = k->scratch;
    int64_t count = at_shape_count(k->node->shape), channels = mask ? at_shape_last(k->node->shape) : 1;
    int64_t rows = count / k->node->shape.dim[0] / channels;
    if (mask) {
        scales(k, rows, channels);
        struct at_share s = at_share_of(k, k->node->shape.dim[0] * rows);
        for (int64_t r = s.begin; r < s.end; r++)
            scaled_difference(dy + r * channels, y + r * channels, t + r * channels,
                              (real)(scale[r / rows] * (double)mask[r]), channels);
        return;
    }
    struct at_share s = at_share_grain(k, count, 64);
    for (int64_t i = s.begin; i < s.end;) {
        int64_t sample = i / rows, n = (sample + 1) * rows - i;
        if (n > s.end - i)
            n = s.end - i;
        scaled_difference(dy + i, y + i, t + i, (real)(2 * (double)dm[sample] / (double)rows), n);
        i += n;
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape y = n->in[1]->shape, pixels = y;
    pixels.rank--;
    if (!at_shape_equal(y, n->in[2]->shape))
        return at_infer_fail(why, size, "y and the target must have one shape");
    if (!at_shape_equal(n->in[0]->shape, AT_SHAPE(y.dim[0])))
        return at_infer_fail(why, size, "dm must be one value a sample");
    if (n->in[3] && (y.rank < 2 || !at_shape_equal(pixels, n->in[3]->shape)))
        return at_infer_fail(why, size, "the mask must have the shape of y without its last dimension");
    n->shape = y;
    n->dtype = n->in[1]->dtype;
    return true;
}

static size_t scratch(const struct at_node *n, int threads)
{
    (void)threads;
    return n->in[3] ? 2 * (size_t)n->shape.dim[0] : 0; // a double a sample
}

// The sums of the masks, 16 bytes aligned, and what summing them takes.
static size_t mask_sums(const struct at_node *n)
{
    return ((size_t)n->shape.dim[0] * 4 + 15) / 16 * 16;
}

static size_t vulkan_scratch(const struct at_node *n)
{
    if (!n->in[3])
        return 0;
    int64_t samples = n->shape.dim[0];
    return mask_sums(n) + at_lower_sum_scratch(samples, at_shape_count(n->in[3]->shape) / samples, false);
}

static bool lower(struct at_lower *l)
{
    uint32_t n = at_lower_count(l->node->shape), samples = (uint32_t)l->node->shape.dim[0];
    struct at_err_bwd push = {.dm = l->in[0],
                              .y = l->in[1],
                              .t = l->in[2],
                              .m = l->in[3],
                              .w = l->scratch,
                              .z = l->out,
                              .n = n,
                              .count = n / samples,
                              .c = (uint32_t)at_shape_last(l->node->shape)};
    if (!l->in[3])
        return at_lower_err_bwd(l, AT_ERR_BWD_SQ, &push);
    struct at_lower_sum sum = {.kind = AT_SUM_PLAIN,
                               .a = l->in[3],
                               .y = l->scratch,
                               .scratch = l->scratch + mask_sums(l->node),
                               .samples = samples,
                               .count = at_lower_count(l->node->in[3]->shape) / samples,
                               .scale = 1};
    if (!at_lower_sum(l, &sum))
        return false;
    at_lower_barrier(l);
    return at_lower_err_bwd(l, AT_ERR_BWD_MASKED, &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 2);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}, {1, {1}}, {1, {1}}}},
    {.in = {{1, {3}}, {2, {3, 127}}, {2, {3, 127}}}},
    {.in = {{1, {2}}, {4, {2, 65, 7, 3}}, {4, {2, 65, 7, 3}}}, .low = -8, .high = 8},
    {.in = {{1, {3}}, {4, {3, 5, 7, 4}}, {4, {3, 5, 7, 4}}, {3, {3, 5, 7}}}, .low = 0.1f, .high = 1},
    {.in = {{1, {2}}, {3, {2, 7, 65}}, {3, {2, 7, 65}}, {2, {2, 7}}}, .low = 0.1f, .high = 1},
    {.in = {{1, {2}}, {3, {2, 7, 65}}, {3, {2, 7, 65}}, {2, {2, 7}}}, .whole = 8, .limit = 2},
    {.in = {{1, {2}}, {3, {2, 7, 5}}, {3, {2, 7, 5}}, {2, {2, 7}}}, .whole = 8, .limit = 1}, // all zero
    {.in = {{1, {2}}, {3, {2, 7, 8}}, {3, {2, 7, 8}}}},
};

const struct at_op at_op_sq_err_bwd = {
    .name = "sq_err_bwd",
    .id = AT_ID_sq_err_bwd,
    .required = 3,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
    .inplace = 6,
};

struct at_node *at_sq_err_bwd(struct at_graph *g, struct at_node *dm, struct at_node *y, struct at_node *target,
                              struct at_node *mask)
{
    return at_graph_append(g, &at_op_sq_err_bwd, (struct at_node *[]){dm, y, target, mask}, 4, NULL, NULL);
}

#endif
