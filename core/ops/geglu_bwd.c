// SPDX-License-Identifier: Apache-2.0
// Adjoint of geglu: from dy (..,C) and x (..,2C) = [h | gate], dx = [dy gelu(gate) | dy h gelu'(gate)].
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(geglu_bwd)
{
    int64_t c = at_shape_last(k->node->shape) / 2;
    struct at_share s = at_share_of(k, at_shape_rows(k->node->shape));
    for (int64_t row = s.begin; row < s.end; row++) {
        const real *dy = (const real *)k->in[0] + row * c;
        const real *h = (const real *)k->in[1] + row * 2 * c, *gate = h + c;
        real *dh = (real *)k->out + row * 2 * c, *dgate = dh + c; // may be h and gate themselves
#pragma omp simd
        for (int64_t i = 0; i < c; i++) {
            real x = gate[i], d = dy[i], a = h[i];
            real cdf = (real)0.5 * (1 + real_erf(x * (real)0.70710678118654752));
            real slope = cdf + x * (real)0.39894228040143268 * real_exp((real)-0.5 * x * x);
            dh[i] = d * x * cdf;
            dgate[i] = d * a * slope;
        }
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape half = n->in[1]->shape;
    half.dim[half.rank - 1] /= 2;
    if (at_shape_last(n->in[1]->shape) % 2 || !at_shape_equal(half, n->in[0]->shape))
        return at_infer_fail(why, size, "dy must be (..,C) where x is (..,2C)");
    n->shape = n->in[1]->shape;
    n->dtype = n->in[1]->dtype;
    return true;
}

static bool lower(struct at_lower *l)
{
    const struct at_node *dy = l->node->in[0];
    struct at_halves push = {.m = l->in[1],
                             .o = l->in[0],
                             .y = l->out,
                             .n = at_lower_count(dy->shape),
                             .c = (uint32_t)at_shape_last(dy->shape)};
    return at_lower_halves(l, AT_HALVES_GEGLU_BWD, at_lower_halves_mask(l, 1, -1), &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 25);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}, {1, {2}}}},
    {.in = {{2, {3, 127}}, {2, {3, 254}}}, .low = -6, .high = 6},
    {.in = {{3, {2, 7, 15}}, {3, {2, 7, 30}}}, .low = -20, .high = 20},
    {.in = {{2, {5, 36}}, {2, {5, 72}}}, .low = -6, .high = 6},
    {.in = {{2, {5, 36}}, {2, {5, 72}}}, .low = -6, .high = 6, .halves = 2},
};

const struct at_op at_op_geglu_bwd = {
    .name = "geglu_bwd",
    .id = AT_ID_geglu_bwd,
    .required = 2,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .halves = 1u << 1,
    .fours = at_fours_all,
    .inplace = 2,
};

struct at_node *at_geglu_bwd(struct at_graph *g, struct at_node *dy, struct at_node *x)
{
    return at_graph_append(g, &at_op_geglu_bwd, (struct at_node *[]){dy, x}, 2, NULL, NULL);
}

#endif
