// SPDX-License-Identifier: Apache-2.0
// y = x + b: x (N,..,C), b (C) or, per sample, (N,C).
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// y = x + b over rows of c values. Narrow rows are added several at a time.
static void add_rows(real *y, const real *x, const real *b, int64_t rows, int64_t c)
{
    real wide[128];
    int64_t count = rows * c, width = c;
    if (c < 64) {
        width = 128 / c * c;
        for (int64_t i = 0; i < width; i++)
            wide[i] = b[i % c];
        b = wide;
    }
    for (int64_t i = 0; i < count; i += width) {
        int64_t n = count - i < width ? count - i : width;
#pragma omp simd
        for (int64_t j = 0; j < n; j++)
            y[i + j] = x[i + j] + b[j];
    }
}

AT_HOST(bias)
{
    const real *x = k->in[0], *b = k->in[1];
    real *y = k->out;
    const struct at_node *node = k->node;
    int64_t c = at_shape_last(node->shape), rows = at_shape_rows(node->shape);
    bool per_sample = node->in[1]->shape.rank == 2;
    int64_t middle = per_sample ? rows / node->shape.dim[0] : rows;
    struct at_share s = at_share_of(k, rows);
    for (int64_t row = s.begin; row < s.end;) {
        int64_t n = row / middle, end = (n + 1) * middle < s.end ? (n + 1) * middle : s.end;
        add_rows(y + row * c, x + row * c, b + n * c, end - row, c);
        row = end;
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape x = n->in[0]->shape, b = n->in[1]->shape;
    bool shared = b.rank == 1 && b.dim[0] == at_shape_last(x);
    bool per_sample = b.rank == 2 && x.rank >= 2 && b.dim[0] == x.dim[0] && b.dim[1] == at_shape_last(x);
    if (!shared && !per_sample)
        return at_infer_fail(why, size, "b must be (C) or (N,C) where x is (N,..,C)");
    return at_infer_same(n, why, size);
}

static void backward(struct at_backward *b)
{
    b->dx[0] = b->dy;
    if (b->need[1])
        b->dx[1] = at_sum_rows(b->g, b->dy, b->node->in[1]->shape.rank == 2);
}

static bool lower(struct at_lower *l)
{
    const struct at_node *n = l->node;
    uint32_t count = at_lower_count(n->shape);
    struct at_broadcast push = {.x = l->in[0],
                                .b = l->in[1],
                                .y = l->out,
                                .n = count,
                                .block = n->in[1]->shape.rank == 2 ? count / (uint32_t)n->shape.dim[0] : count,
                                .c = (uint32_t)at_shape_last(n->shape)};
    return at_lower_broadcast(l, AT_BROADCAST_ADD, at_lower_halves_mask(l, 0, -1), &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 1);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}, {1, {1}}}},
    {.in = {{2, {3, 127}}, {1, {127}}}, .low = -100, .high = 100},
    {.in = {{4, {2, 9, 11, 3}}, {1, {3}}}},
    {.in = {{4, {3, 5, 7, 65}}, {2, {3, 65}}}},
    {.in = {{2, {3, 7}}, {2, {3, 7}}}},
    {.in = {{3, {2, 205, 1}}, {2, {2, 1}}}},
    {.in = {{3, {3, 7, 64}}, {2, {3, 64}}}},
    {.in = {{4, {3, 5, 7, 12}}, {2, {3, 12}}}, .halves = 1},
    {.in = {{4, {2, 9, 11, 8}}, {1, {8}}}, .halves = 1 | AT_HALVES_Y, .tolerance = AT_HALVES_ERROR},
    {.in = {{2, {3, 64}}, {2, {3, 64}}}, .halves = AT_HALVES_Y, .tolerance = AT_HALVES_ERROR},
};

const struct at_op at_op_bias = {
    .name = "bias",
    .id = AT_ID_bias,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .halves = 1 | AT_HALVES_Y,
    .inplace = 1,
    .epilogue = AT_EPILOGUE_BIAS, // where b is (C)
};

struct at_node *at_bias(struct at_graph *g, struct at_node *x, struct at_node *b)
{
    return at_graph_append(g, &at_op_bias, (struct at_node *[]){x, b}, 2, NULL, NULL);
}

#endif
