// SPDX-License-Identifier: Apache-2.0
// Gated GELU (Shazeer 2020): x (..,2C) = [h | gate] -> h gelu(gate), (..,C).
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(geglu)
{
    int64_t c = at_shape_last(k->node->shape);
    struct at_share s = at_share_of(k, at_shape_rows(k->node->shape));
    for (int64_t row = s.begin; row < s.end; row++) {
        const real *restrict h = (const real *)k->in[0] + row * 2 * c, *restrict gate = h + c;
        real *restrict y = (real *)k->out + row * c;
#pragma omp simd
        for (int64_t i = 0; i < c; i++)
            y[i] = h[i] * gate[i] * (real)0.5 * (1 + real_erf(gate[i] * (real)0.70710678118654752));
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    at_infer_same(n, why, size);
    int64_t *last = &n->shape.dim[n->shape.rank - 1];
    if (*last % 2)
        return at_infer_fail(why, size, "the last dimension must be even");
    *last /= 2;
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_geglu_bwd(b->g, b->dy, b->in[0]);
}

static bool lower(struct at_lower *l)
{
    uint32_t c = (uint32_t)at_shape_last(l->node->shape);
    struct at_halves push = {.m = l->in[0], .y = l->out, .n = at_lower_count(l->node->shape), .c = c};
    return at_lower_halves(l, AT_HALVES_GEGLU, at_lower_halves_mask(l, 0, -1), &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 30);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {2}}}},
    {.in = {{2, {3, 254}}}, .low = -6, .high = 6},
    {.in = {{3, {2, 7, 30}}}, .low = -20, .high = 20},
    {.in = {{2, {5, 72}}}, .low = -6, .high = 6},
    {.in = {{2, {5, 72}}}, .low = -6, .high = 6, .halves = 1},
    {.in = {{2, {5, 72}}}, .low = -6, .high = 6, .halves = 1 | AT_HALVES_Y, .tolerance = AT_HALVES_ERROR},
};

const struct at_op at_op_geglu = {
    .name = "geglu",
    .id = AT_ID_geglu,
    .required = 1,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .halves = 1 | AT_HALVES_Y,
    .fours = at_fours_all,
    .cheap = true,
};

struct at_node *at_geglu(struct at_graph *g, struct at_node *x)
{
    return at_graph_append(g, &at_op_geglu, &x, 1, NULL, NULL);
}

#endif
