// SPDX-License-Identifier: Apache-2.0
// Adjoint of gaussian_kl: dkl[n] [mean | (exp(logvar) - 1) / 2], the latter 0 where logvar is clamped.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// Inlined, so that the usual 4 channels make a loop of known length. dmoments may lie in the memory of the moments.
static inline void kl_rows_bwd(const real *dkl, const real *moments, real *dmoments, struct at_share s,
                               int64_t per_sample, int64_t channels)
{
    for (int64_t r = s.begin; r < s.end; r++) {
        const real *mean = moments + 2 * r * channels, *logvar = mean + channels;
        real *to = dmoments + 2 * r * channels, d = dkl[r / per_sample];
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            real l = logvar[c], x = l < -30 ? -30 : l > 20 ? 20 : l;
            real g = d * (real)0.5 * (real_exp(x) - 1);
            to[c] = d * mean[c];
            to[channels + c] = l < -30 || l > 20 ? 0 : g;
        }
    }
}

AT_HOST(gaussian_kl_bwd)
{
    int64_t channels = at_shape_last(k->node->shape) / 2, rows = at_shape_rows(k->node->shape);
    int64_t per_sample = rows / k->node->shape.dim[0];
    struct at_share s = at_share_of(k, rows);
    if (channels == 4)
        kl_rows_bwd(k->in[0], k->in[1], k->out, s, per_sample, 4);
    else
        kl_rows_bwd(k->in[0], k->in[1], k->out, s, per_sample, channels);
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape m = n->in[1]->shape;
    if (m.rank < 2 || at_shape_last(m) % 2)
        return at_infer_fail(why, size, "moments (N,..,2C) are needed");
    if (!at_shape_equal(n->in[0]->shape, AT_SHAPE(m.dim[0])))
        return at_infer_fail(why, size, "dkl must be one value a sample");
    n->shape = m;
    n->dtype = n->in[1]->dtype;
    return true;
}

static bool lower(struct at_lower *l)
{
    struct at_shape s = l->node->shape;
    struct at_halves push = {.m = l->in[1],
                             .o = l->in[0],
                             .y = l->out,
                             .n = at_lower_count(s) / 2,
                             .c = (uint32_t)at_shape_last(s) / 2,
                             .per = (uint32_t)(at_shape_rows(s) / s.dim[0])};
    return at_lower_halves(l, AT_HALVES_KL_BWD, 0, &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 9);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}, {2, {1, 2}}}, .low = -3, .high = 3},
    {.in = {{1, {3}}, {4, {3, 5, 7, 8}}}, .low = -3, .high = 3},
    {.in = {{1, {2}}, {3, {2, 7, 130}}}, .low = -3, .high = 3},
    {.in = {{1, {2}}, {3, {2, 3, 254}}}, .low = -40, .high = 40}, // the clamp
};

const struct at_op at_op_gaussian_kl_bwd = {
    .name = "gaussian_kl_bwd",
    .id = AT_ID_gaussian_kl_bwd,
    .required = 2,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .inplace = 2,
};

struct at_node *at_gaussian_kl_bwd(struct at_graph *g, struct at_node *dkl, struct at_node *moments)
{
    return at_graph_append(g, &at_op_gaussian_kl_bwd, (struct at_node *[]){dkl, moments}, 2, NULL, NULL);
}

#endif
