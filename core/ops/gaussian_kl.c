// SPDX-License-Identifier: Apache-2.0
// KL divergence of a diagonal Gaussian from the standard normal: moments (N,..,2C) = [mean | logvar] -> (N),
// the sum over a sample of (mean^2 + exp(logvar) - 1 - logvar) / 2, logvar clamped to -30 .. 20.
#include "core/ops/build.h"
#include "core/ops/chunks.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

static inline double row_kl(const real *restrict mean, const real *restrict logvar, int64_t channels)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < channels; c++) {
        real l = logvar[c] < -30 ? -30 : logvar[c] > 20 ? 20 : logvar[c];
        sum += (double)(mean[c] * mean[c]) + (double)real_exp(l) - 1 - (double)l;
    }
    return 0.5 * sum;
}

AT_HOST(gaussian_kl)
{
    const real *moments = k->in[0];
    real *kl = k->out;
    double *part = k->scratch;
    int64_t width = at_shape_last(k->node->in[0]->shape), channels = width / 2;
    struct at_chunks chunks = at_chunks_of(k->node->in[0]->shape, width);
    struct at_share s = at_share_of(k, chunks.samples * chunks.per_sample);
    for (int64_t i = s.begin; i < s.end; i++) {
        struct at_chunk c = at_chunk_at(&chunks, i);
        double sum = 0;
        for (int64_t r = c.sample * chunks.rows + c.begin; r < c.sample * chunks.rows + c.end; r++)
            sum += row_kl(moments + r * width, moments + r * width + channels, channels);
        part[i] = sum;
    }
    at_team_wait(k);
    s = at_share_of(k, chunks.samples);
    for (int64_t n = s.begin; n < s.end; n++)
        kl[n] = (real)at_chunks_sum(&chunks, part, n, 1);
}

#else

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape m = n->in[0]->shape;
    if (m.rank < 2 || at_shape_last(m) % 2)
        return at_infer_fail(why, size, "moments (N,..,2C) are needed");
    n->shape = AT_SHAPE(m.dim[0]);
    n->dtype = n->in[0]->dtype;
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_gaussian_kl_bwd(b->g, b->dy, b->in[0]);
}

static size_t scratch(const struct at_node *n, int threads)
{
    (void)threads;
    struct at_chunks c = at_chunks_of(n->in[0]->shape, at_shape_last(n->in[0]->shape));
    return at_chunks_scratch(&c, 1);
}

static struct at_cost cost(const struct at_node *n)
{
    return (struct at_cost){10.0 * (double)at_shape_count(n->in[0]->shape), at_cost_bytes(n)};
}

static const struct at_op_case cases[] = {
    {.in = {{2, {1, 2}}}, .low = -3, .high = 3},
    {.in = {{4, {3, 5, 7, 8}}}, .low = -3, .high = 3},
    {.in = {{3, {2, 127, 66}}}, .low = -1, .high = 1},
    {.in = {{3, {2, 205, 130}}}, .low = -3, .high = 3}, // more than one chunk
    {.in = {{3, {2, 3, 254}}}, .low = -40, .high = -20}, // the lower clamp
    // The upper clamp. Forward only: beside exp(20) finite differences see nothing else.
    {.in = {{3, {2, 3, 254}}}, .low = -40, .high = 40, .forward_only = true},
};

const struct at_op at_op_gaussian_kl = {
    .name = "gaussian_kl",
    .id = AT_ID_gaussian_kl,
    .required = 1,
    .infer = infer,
    .backward = backward,
    .scratch = scratch,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_gaussian_kl(struct at_graph *g, struct at_node *moments)
{
    return at_graph_append(g, &at_op_gaussian_kl, &moments, 1, NULL, NULL);
}

#endif
