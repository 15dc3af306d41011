// SPDX-License-Identifier: Apache-2.0
// Absolute error, one value a sample: y and target (N,..) -> (N), the mean of |y - target|.
#include "core/ops/build.h"
#include "core/ops/chunks.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(abs_err)
{
    const real *y = k->in[0], *t = k->in[1];
    real *m = k->out;
    double *part = k->scratch;
    struct at_chunks chunks = at_chunks_of(k->node->in[0]->shape, 1);
    struct at_share s = at_share_of(k, chunks.samples * chunks.per_sample);
    for (int64_t i = s.begin; i < s.end; i++) {
        struct at_chunk c = at_chunk_at(&chunks, i);
        int64_t begin = c.sample * chunks.rows + c.begin, end = c.sample * chunks.rows + c.end;
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = begin; j < end; j++)
            sum += fabs((double)y[j] - (double)t[j]);
        part[i] = sum;
    }
    at_team_wait(k);
    s = at_share_of(k, chunks.samples);
    for (int64_t n = s.begin; n < s.end; n++)
        m[n] = (real)(at_chunks_sum(&chunks, part, n, 1) / (double)chunks.rows);
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (!at_shape_equal(n->in[0]->shape, n->in[1]->shape))
        return at_infer_fail(why, size, "y and the target must have one shape");
    n->shape = AT_SHAPE(n->in[0]->shape.dim[0]);
    n->dtype = n->in[0]->dtype;
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_abs_err_bwd(b->g, b->dy, b->in[0], b->in[1]);
}

static size_t scratch(const struct at_node *n, int threads)
{
    (void)threads;
    struct at_chunks c = at_chunks_of(n->in[0]->shape, 1);
    return at_chunks_scratch(&c, 1);
}

static size_t vulkan_scratch(const struct at_node *n)
{
    int64_t samples = n->shape.dim[0];
    return at_lower_sum_scratch(samples, at_shape_count(n->in[0]->shape) / samples, false);
}

static bool lower(struct at_lower *l)
{
    uint32_t samples = (uint32_t)l->node->shape.dim[0], count = at_lower_count(l->node->in[0]->shape) / samples;
    struct at_lower_sum sum = {.kind = AT_SUM_ABS_ERR,
                               .a = l->in[0],
                               .b = l->in[1],
                               .y = l->out,
                               .scratch = l->scratch,
                               .samples = samples,
                               .count = count,
                               .scale = 1 / (float)count};
    return at_lower_sum(l, &sum);
}

static struct at_cost cost(const struct at_node *n)
{
    return (struct at_cost){3.0 * (double)at_shape_count(n->in[0]->shape), at_cost_bytes(n)};
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}, {1, {1}}}},
    {.in = {{2, {3, 127}}, {2, {3, 127}}}},
    // Forward only: among so many elements some lie at the kink.
    {.in = {{4, {2, 65, 127, 3}}, {4, {2, 65, 127, 3}}}, .low = -8, .high = 8, .forward_only = true},
};

const struct at_op at_op_abs_err = {
    .name = "abs_err",
    .id = AT_ID_abs_err,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
    .constant = 2,
};

struct at_node *at_abs_err(struct at_graph *g, struct at_node *y, struct at_node *target)
{
    return at_graph_append(g, &at_op_abs_err, (struct at_node *[]){y, target}, 2, NULL, NULL);
}

#endif
