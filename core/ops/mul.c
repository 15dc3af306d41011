// SPDX-License-Identifier: Apache-2.0
// y = a b, elementwise.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(mul)
{
    const real *a = k->in[0], *b = k->in[1];
    real *y = k->out;
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
#pragma omp simd
    for (int64_t i = s.begin; i < s.end; i++)
        y[i] = a[i] * b[i];
}

#else
#include "core/ops/lowering.h"

static void backward(struct at_backward *b)
{
    if (b->need[0])
        b->dx[0] = at_mul(b->g, b->dy, b->in[1]);
    if (b->need[1])
        b->dx[1] = at_mul(b->g, b->dy, b->in[0]);
}

static bool lower(struct at_lower *l)
{
    return at_lower_elementwise(
        l, &(struct at_lower_map){AT_MAP_MUL, .a = l->in[0], .b = l->in[1], .y = l->out,
             .halves = at_lower_halves_mask(l, 0, 1), .n = at_lower_count(l->node->shape)});
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 1);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}, {1, {1}}}},
    {.in = {{2, {3, 127}}, {2, {3, 127}}}, .low = -1e3f, .high = 1e3f},
    {.in = {{4, {2, 3, 5, 7}}, {4, {2, 3, 5, 7}}}},
    {.in = {{3, {2, 7, 20}}, {3, {2, 7, 20}}}, .halves = 1},
    {.in = {{2, {3, 128}}, {2, {3, 128}}}, .halves = 2 | AT_HALVES_Y, .tolerance = AT_HALVES_ERROR},
};

const struct at_op at_op_mul = {
    .name = "mul",
    .id = AT_ID_mul,
    .required = 2,
    .infer = at_infer_equal,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .inplace = 3,
    .halves = 3 | AT_HALVES_Y,
};

struct at_node *at_mul(struct at_graph *g, struct at_node *a, struct at_node *b)
{
    return at_graph_append(g, &at_op_mul, (struct at_node *[]){a, b}, 2, NULL, NULL);
}

#endif
