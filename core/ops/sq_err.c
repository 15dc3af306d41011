// SPDX-License-Identifier: Apache-2.0
// Squared error, one value a sample: y and target (N,..) -> (N), the mean of (y - target)^2. With a mask of y's shape
// without its channels C: sum of mask (y - target)^2 / (C sum of mask); 0 where the mask is all zero.
#include "core/ops/build.h"
#include "core/ops/chunks.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

static inline double sum_sq(const real *y, const real *t, int64_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        double d = (double)y[i] - (double)t[i];
        sum += d * d;
    }
    return sum;
}

static void plain(const struct at_kernel *k)
{
    const real *y = k->in[0], *t = k->in[1];
    real *m = k->out;
    double *part = k->scratch;
    struct at_chunks chunks = at_chunks_of(k->node->in[0]->shape, 1);
    struct at_share s = at_share_of(k, chunks.samples * chunks.per_sample);
    for (int64_t i = s.begin; i < s.end; i++) {
        struct at_chunk c = at_chunk_at(&chunks, i);
        int64_t at = c.sample * chunks.rows + c.begin;
        part[i] = sum_sq(y + at, t + at, c.end - c.begin);
    }
    at_team_wait(k);
    s = at_share_of(k, chunks.samples);
    for (int64_t n = s.begin; n < s.end; n++)
        m[n] = (real)(at_chunks_sum(&chunks, part, n, 1) / (double)chunks.rows);
}

// {sum of mask (y - target)^2, sum of mask} over rows. Lane c of sum collects channels c, c + LANES, ..
#define LANES 4

static inline void masked_rows(const real *restrict y, const real *restrict t, const real *restrict mask, int64_t rows,
                               int64_t channels, double out[2])
{
    double sum[LANES] = {0}, weight = 0;
    for (int64_t r = 0; r < rows; r++) {
        weight += (double)mask[r];
        for (int64_t c = 0; c < channels; c += LANES) {
            int64_t at = r * channels + c, n = channels - c < LANES ? channels - c : LANES;
            for (int64_t j = 0; j < n; j++) {
                double d = (double)y[at + j] - (double)t[at + j];
                sum[j] += (double)mask[r] * d * d;
            }
        }
    }
    out[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    out[1] = weight;
}

static void masked(const struct at_kernel *k)
{
    const real *y = k->in[0], *t = k->in[1], *mask = k->in[2];
    real *m = k->out;
    double *part = k->scratch; // per chunk: sum of mask (y - t)^2, sum of mask
    int64_t channels = at_shape_last(k->node->in[0]->shape);
    struct at_chunks chunks = at_chunks_of(k->node->in[0]->shape, channels);
    struct at_share s = at_share_of(k, chunks.samples * chunks.per_sample);
    for (int64_t i = s.begin; i < s.end; i++) {
        struct at_chunk c = at_chunk_at(&chunks, i);
        int64_t row = c.sample * chunks.rows + c.begin, at = row * channels;
        if (channels == 4) // a loop of known length
            masked_rows(y + at, t + at, mask + row, c.end - c.begin, 4, part + 2 * i);
        else
            masked_rows(y + at, t + at, mask + row, c.end - c.begin, channels, part + 2 * i);
    }
    at_team_wait(k);
    s = at_share_of(k, chunks.samples);
    for (int64_t n = s.begin; n < s.end; n++) {
        double weight = at_chunks_sum(&chunks, part + 1, n, 2);
        m[n] = weight == 0 ? 0 : (real)(at_chunks_sum(&chunks, part, n, 2) / (weight * (double)channels));
    }
}

AT_HOST(sq_err)
{
    if (k->in[2])
        masked(k);
    else
        plain(k);
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape y = n->in[0]->shape, pixels = y;
    pixels.rank--;
    if (!at_shape_equal(y, n->in[1]->shape))
        return at_infer_fail(why, size, "y and the target must have one shape");
    if (n->in[2] && (y.rank < 2 || !at_shape_equal(pixels, n->in[2]->shape)))
        return at_infer_fail(why, size, "the mask must have the shape of y without its last dimension");
    if (n->in[2] && n->in[2]->dtype != AT_F32)
        return at_infer_fail(why, size, "the mask must be real");
    n->shape = AT_SHAPE(y.dim[0]);
    n->dtype = n->in[0]->dtype;
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_sq_err_bwd(b->g, b->dy, b->in[0], b->in[1], b->in[2]);
}

static size_t scratch(const struct at_node *n, int threads)
{
    (void)threads;
    struct at_chunks c = at_chunks_of(n->in[0]->shape, n->in[2] ? at_shape_last(n->in[0]->shape) : 1);
    return at_chunks_scratch(&c, n->in[2] ? 2 : 1);
}

static size_t vulkan_scratch(const struct at_node *n)
{
    int64_t samples = n->shape.dim[0];
    return at_lower_sum_scratch(samples, at_shape_count(n->in[0]->shape) / samples, n->in[2] != NULL);
}

static bool lower(struct at_lower *l)
{
    uint32_t samples = (uint32_t)l->node->shape.dim[0], count = at_lower_count(l->node->in[0]->shape) / samples;
    struct at_lower_sum sum = {.kind = l->in[2] ? AT_SUM_MASKED : AT_SUM_SQ_ERR,
                               .a = l->in[0],
                               .b = l->in[1],
                               .m = l->in[2],
                               .y = l->out,
                               .scratch = l->scratch,
                               .samples = samples,
                               .count = count,
                               .c = (uint32_t)at_shape_last(l->node->in[0]->shape),
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
    {.in = {{4, {2, 65, 127, 3}}, {4, {2, 65, 127, 3}}}, .low = -8, .high = 8},
    {.in = {{4, {3, 5, 7, 4}}, {4, {3, 5, 7, 4}}, {3, {3, 5, 7}}}, .low = 0.1f, .high = 1},
    {.in = {{4, {2, 65, 67, 4}}, {4, {2, 65, 67, 4}}, {3, {2, 65, 67}}}, .low = 0.1f, .high = 1},
    // Masks of 0 and 1, and one that is all zero.
    {.in = {{3, {2, 7, 5}}, {3, {2, 7, 5}}, {2, {2, 7}}}, .whole = 4, .limit = 2},
    {.in = {{3, {2, 7, 5}}, {3, {2, 7, 5}}, {2, {2, 7}}}, .whole = 4, .limit = 1},
};

const struct at_op at_op_sq_err = {
    .name = "sq_err",
    .id = AT_ID_sq_err,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
    .constant = 6,
};

struct at_node *at_sq_err(struct at_graph *g, struct at_node *y, struct at_node *target, struct at_node *mask)
{
    return at_graph_append(g, &at_op_sq_err, (struct at_node *[]){y, target, mask}, 3, NULL, NULL);
}

#endif
