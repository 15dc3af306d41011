// SPDX-License-Identifier: Apache-2.0
// y = a x + b, elementwise. attr: f[0] a, f[1] b.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(scale)
{
    const real *x = k->in[0];
    real *y = k->out;
    real a = (real)k->node->attr.f[0], b = (real)k->node->attr.f[1];
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
#pragma omp simd
    for (int64_t i = s.begin; i < s.end; i++)
        y[i] = a * x[i] + b;
}

#else
#include "core/ops/lowering.h"

static void backward(struct at_backward *b)
{
    b->dx[0] = at_scale(b->g, b->dy, b->node->attr.f[0], 0);
}

static bool lower(struct at_lower *l)
{
    return at_lower_elementwise(
        l, &(struct at_lower_map){AT_MAP_SCALE, .a = l->in[0], .p = l->node->attr.f[0], .q = l->node->attr.f[1], .y = l->out,
             .halves = at_lower_halves_mask(l, 0, -1), .n = at_lower_count(l->node->shape)});
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 2);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}}, .attr = {.f = {2, 1}}},
    {.in = {{2, {3, 127}}}, .attr = {.f = {-0.18215f, 0}}, .low = -1e6f, .high = 1e6f},
    {.in = {{3, {2, 3, 65}}}, .attr = {.f = {0.5f, 0.5f}}},
    {.in = {{2, {3, 128}}}, .attr = {.f = {2, 1}}, .halves = 1 | AT_HALVES_Y, .tolerance = AT_HALVES_ERROR},
};

const struct at_op at_op_scale = {
    .name = "scale",
    .id = AT_ID_scale,
    .required = 1,
    .infer = at_infer_same,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .inplace = 1,
    .halves = 1 | AT_HALVES_Y,
    .cheap = true,
};

struct at_node *at_scale(struct at_graph *g, struct at_node *x, float a, float b)
{
    return at_graph_append(g, &at_op_scale, &x, 1, &(struct at_attr){.f = {a, b}}, NULL);
}

#endif
