// SPDX-License-Identifier: Apache-2.0
// A draw from a diagonal Gaussian: moments (..,2C) = [mean | logvar], noise (..,C) -> mean + exp(logvar / 2) noise,
// logvar clamped to -30 .. 20.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// Inlined, so that the usual 4 channels make a loop of known length.
static inline void sample_rows(const real *restrict moments, const real *restrict noise, real *restrict z,
                               struct at_share s, int64_t channels)
{
    for (int64_t r = s.begin; r < s.end; r++) {
        const real *mean = moments + r * 2 * channels, *logvar = mean + channels, *from = noise + r * channels;
        real *to = z + r * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            real l = logvar[c] < -30 ? -30 : logvar[c] > 20 ? 20 : logvar[c];
            to[c] = mean[c] + real_exp((real)0.5 * l) * from[c];
        }
    }
}

AT_HOST(gaussian_sample)
{
    int64_t channels = at_shape_last(k->node->shape);
    struct at_share s = at_share_of(k, at_shape_rows(k->node->shape));
    if (channels == 4)
        sample_rows(k->in[0], k->in[1], k->out, s, 4);
    else
        sample_rows(k->in[0], k->in[1], k->out, s, channels);
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape z = n->in[0]->shape;
    if (at_shape_last(z) % 2)
        return at_infer_fail(why, size, "the moments have an odd number of channels");
    z.dim[z.rank - 1] /= 2;
    if (!at_shape_equal(z, n->in[1]->shape))
        return at_infer_fail(why, size, "the noise must have the moments' shape with half the channels");
    n->shape = z;
    n->dtype = n->in[0]->dtype;
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_gaussian_sample_bwd(b->g, b->dy, b->in[0], b->in[1]);
}

static bool lower(struct at_lower *l)
{
    struct at_halves push = {.m = l->in[0],
                             .o = l->in[1],
                             .y = l->out,
                             .n = at_lower_count(l->node->shape),
                             .c = (uint32_t)at_shape_last(l->node->shape)};
    return at_lower_halves(l, AT_HALVES_SAMPLE, 0, &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 20);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {2}}, {1, {1}}}, .low = -3, .high = 3},
    {.in = {{4, {2, 3, 7, 8}}, {4, {2, 3, 7, 4}}}, .low = -3, .high = 3},
    {.in = {{2, {5, 130}}, {2, {5, 65}}}, .low = -3, .high = 3},
    {.in = {{2, {3, 254}}, {2, {3, 127}}}, .low = -40, .high = -20}, // the lower clamp
    // The upper clamp. Forward only: beside exp(10) finite differences see nothing else.
    {.in = {{2, {3, 254}}, {2, {3, 127}}}, .low = -40, .high = 40, .forward_only = true},
};

const struct at_op at_op_gaussian_sample = {
    .name = "gaussian_sample",
    .id = AT_ID_gaussian_sample,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .constant = 2,
};

struct at_node *at_gaussian_sample(struct at_graph *g, struct at_node *moments, struct at_node *noise)
{
    return at_graph_append(g, &at_op_gaussian_sample, (struct at_node *[]){moments, noise}, 2, NULL, NULL);
}

#endif
