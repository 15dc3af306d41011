// SPDX-License-Identifier: Apache-2.0
// Adjoint of gaussian_sample for the moments: [dz | dz noise exp(logvar / 2) / 2], the latter 0 where logvar is clamped.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// Inlined, so that the usual 4 channels make a loop of known length. dmoments may lie in the memory of the moments.
static inline void sample_rows_bwd(const real *dz, const real *moments, const real *noise, real *dmoments,
                                   struct at_share s, int64_t channels)
{
    for (int64_t r = s.begin; r < s.end; r++) {
        const real *d = dz + r * channels, *e = noise + r * channels, *logvar = moments + (2 * r + 1) * channels;
        real *to = dmoments + 2 * r * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            real l = logvar[c], x = l < -30 ? -30 : l > 20 ? 20 : l;
            real g = d[c] * e[c] * (real)0.5 * real_exp((real)0.5 * x);
            to[c] = d[c];
            to[channels + c] = l < -30 || l > 20 ? 0 : g;
        }
    }
}

AT_HOST(gaussian_sample_bwd)
{
    int64_t channels = at_shape_last(k->node->in[0]->shape);
    struct at_share s = at_share_of(k, at_shape_rows(k->node->shape));
    if (channels == 4)
        sample_rows_bwd(k->in[0], k->in[1], k->in[2], k->out, s, 4);
    else
        sample_rows_bwd(k->in[0], k->in[1], k->in[2], k->out, s, channels);
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape z = n->in[1]->shape;
    if (at_shape_last(z) % 2)
        return at_infer_fail(why, size, "the moments have an odd number of channels");
    z.dim[z.rank - 1] /= 2;
    if (!at_shape_equal(z, n->in[0]->shape) || !at_shape_equal(z, n->in[2]->shape))
        return at_infer_fail(why, size, "dz and the noise must have the moments' shape with half the channels");
    n->shape = n->in[1]->shape;
    n->dtype = n->in[1]->dtype;
    return true;
}

static bool lower(struct at_lower *l)
{
    const struct at_node *dz = l->node->in[0];
    struct at_halves push = {.m = l->in[1],
                             .o = l->in[0],
                             .r = l->in[2],
                             .y = l->out,
                             .n = at_lower_count(dz->shape),
                             .c = (uint32_t)at_shape_last(dz->shape)};
    return at_lower_halves(l, AT_HALVES_SAMPLE_BWD, 0, &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 11);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}, {1, {2}}, {1, {1}}}, .low = -3, .high = 3},
    {.in = {{4, {2, 3, 7, 4}}, {4, {2, 3, 7, 8}}, {4, {2, 3, 7, 4}}}, .low = -3, .high = 3},
    {.in = {{2, {5, 65}}, {2, {5, 130}}, {2, {5, 65}}}, .low = -3, .high = 3},
    {.in = {{2, {3, 127}}, {2, {3, 254}}, {2, {3, 127}}}, .low = -40, .high = 40}, // the clamp
};

const struct at_op at_op_gaussian_sample_bwd = {
    .name = "gaussian_sample_bwd",
    .id = AT_ID_gaussian_sample_bwd,
    .required = 3,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .inplace = 2,
};

struct at_node *at_gaussian_sample_bwd(struct at_graph *g, struct at_node *dz, struct at_node *moments,
                                       struct at_node *noise)
{
    return at_graph_append(g, &at_op_gaussian_sample_bwd, (struct at_node *[]){dz, moments, noise}, 3, NULL, NULL);
}

#endif
