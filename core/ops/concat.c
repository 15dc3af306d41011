// SPDX-License-Identifier: Apache-2.0
// Joins the last dimension: a (..,A), b (..,B) -> (..,A+B).
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(concat)
{
    const real *restrict a = k->in[0], *restrict b = k->in[1];
    real *restrict y = k->out;
    int64_t na = at_shape_last(k->node->in[0]->shape), nb = at_shape_last(k->node->in[1]->shape), ny = na + nb;
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
    for (int64_t i = s.begin; i < s.end;) {
        int64_t row = i / ny, c = i % ny;
        int64_t n = (c < na ? na : ny) - c;
        if (n > s.end - i)
            n = s.end - i;
        memcpy(y + i, c < na ? a + row * na + c : b + row * nb + c - na, (size_t)n * sizeof(real));
        i += n;
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape a = n->in[0]->shape, b = n->in[1]->shape;
    at_infer_same(n, why, size);
    n->shape.dim[a.rank - 1] = at_shape_last(a) + at_shape_last(b);
    b.dim[b.rank - 1] = at_shape_last(a);
    if (!at_shape_equal(a, b) || n->in[0]->dtype != n->in[1]->dtype)
        return at_infer_fail(why, size, "all dimensions but the last must agree");
    return true;
}

static void backward(struct at_backward *b)
{
    int64_t na = at_shape_last(b->in[0]->shape), nb = at_shape_last(b->in[1]->shape);
    if (b->need[0])
        b->dx[0] = at_slice(b->g, b->dy, 0, na);
    if (b->need[1])
        b->dx[1] = at_slice(b->g, b->dy, na, nb);
}

static bool lower(struct at_lower *l)
{
    const struct at_node *n = l->node;
    uint32_t count = (uint32_t)at_shape_last(n->in[0]->shape);
    struct at_channels push = {.a = l->in[0],
                               .b = l->in[1],
                               .y = l->out,
                               .rows = (uint32_t)at_shape_rows(n->shape),
                               .c = (uint32_t)at_shape_last(n->shape),
                               .from = count,
                               .hi = count};
    return at_lower_channels(l, at_lower_halves_mask(l, 0, 1), &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 0);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}, {1, {3}}}},
    {.in = {{2, {3, 127}}, {2, {3, 1}}}},
    {.in = {{4, {2, 3, 7, 64}}, {4, {2, 3, 7, 32}}}},
    {.in = {{3, {2, 5, 7}}, {3, {2, 5, 205}}}},
    {.in = {{3, {2, 7, 64}}, {3, {2, 7, 32}}}, .halves = 3 | AT_HALVES_Y, .tolerance = AT_HALVES_ERROR},
    {.in = {{3, {2, 7, 12}}, {3, {2, 7, 4}}}, .halves = 2},
    {.in = {{3, {2, 7, 12}}, {3, {2, 7, 4}}}, .halves = 1 | AT_HALVES_Y, .tolerance = AT_HALVES_ERROR},
};

const struct at_op at_op_concat = {
    .name = "concat",
    .id = AT_ID_concat,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .halves = 3 | AT_HALVES_Y,
    .fours = at_fours_all,
};

struct at_node *at_concat(struct at_graph *g, struct at_node *a, struct at_node *b)
{
    return at_graph_append(g, &at_op_concat, (struct at_node *[]){a, b}, 2, NULL, NULL);
}

#endif
