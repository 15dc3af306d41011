// SPDX-License-Identifier: Apache-2.0
// KL divergence of a diagonal Gaussian from the standard normal: moments (N,..,2C) = [mean | logvar] -> (N),
// the sum over a sample of (mean^2 + exp(logvar) - 1 - logvar) / 2, logvar clamped to -30 .. 20.
#include "core/ops/build.h"
#include "core/ops/chunks.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// Lane c of sum collects channel c, c + LANES, ..: no sum across lanes until the end.
#define LANES 4

static inline double rows_kl(const real *restrict moments, int64_t rows, int64_t channels)
{
    double sum[LANES] = {0};
    for (int64_t r = 0; r < rows; r++) {
        const real *mean = moments + r * 2 * channels, *logvar = mean + channels;
        for (int64_t c = 0; c < channels; c += LANES) {
            int64_t n = channels - c < LANES ? channels - c : LANES;
            for (int64_t j = 0; j < n; j++) {
                real m = mean[c + j], l = logvar[c + j] < -30 ? -30 : logvar[c + j] > 20 ? 20 : logvar[c + j];
                sum[j] += (double)(m * m) + (double)real_exp(l) - 1 - (double)l;
            }
        }
    }
    return 0.5 * ((sum[0] + sum[1]) + (sum[2] + sum[3]));
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
        const real *from = moments + (c.sample * chunks.rows + c.begin) * width;
        part[i] = channels == 4 ? rows_kl(from, c.end - c.begin, 4) : rows_kl(from, c.end - c.begin, channels);
    }
    at_team_wait(k);
    s = at_share_of(k, chunks.samples);
    for (int64_t n = s.begin; n < s.end; n++)
        kl[n] = (real)at_chunks_sum(&chunks, part, n, 1);
}

#else
#include "core/ops/lowering.h"

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

static size_t vulkan_scratch(const struct at_node *n)
{
    int64_t samples = n->shape.dim[0];
    return at_lower_sum_scratch(samples, at_shape_count(n->in[0]->shape) / 2 / samples, false);
}

static bool lower(struct at_lower *l)
{
    struct at_shape m = l->node->in[0]->shape;
    uint32_t samples = (uint32_t)m.dim[0];
    struct at_lower_sum sum = {.kind = AT_SUM_KL,
                               .a = l->in[0],
                               .y = l->out,
                               .scratch = l->scratch,
                               .samples = samples,
                               .count = at_lower_count(m) / 2 / samples,
                               .c = (uint32_t)at_shape_last(m) / 2,
                               .scale = 1};
    return at_lower_sum(l, &sum);
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
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_gaussian_kl(struct at_graph *g, struct at_node *moments)
{
    return at_graph_append(g, &at_op_gaussian_kl, &moments, 1, NULL, NULL);
}

#endif
