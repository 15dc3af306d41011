// SPDX-License-Identifier: Apache-2.0
// y[n,..] = x[n,..] s[n]: one factor a sample, s (N), a constant.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(scale_rows)
{
    const real *x = k->in[0], *factor = k->in[1];
    real *y = k->out;
    int64_t count = at_shape_count(k->node->shape), width = count / k->node->shape.dim[0];
    struct at_share s = at_share_grain(k, count, 64);
    for (int64_t i = s.begin; i < s.end;) {
        int64_t n = i / width, end = (n + 1) * width < s.end ? (n + 1) * width : s.end;
        real f = factor[n];
#pragma omp simd
        for (int64_t j = i; j < end; j++)
            y[j] = x[j] * f;
        i = end;
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (n->in[1]->shape.rank != 1 || n->in[1]->shape.dim[0] != n->in[0]->shape.dim[0])
        return at_infer_fail(why, size, "s must be (N) where x is (N,..)");
    return at_infer_same(n, why, size);
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_scale_rows(b->g, b->dy, b->in[1]);
}

static bool lower(struct at_lower *l)
{
    uint32_t count = at_lower_count(l->node->shape);
    struct at_broadcast push = {.x = l->in[0],
                                .b = l->in[1],
                                .y = l->out,
                                .n = count,
                                .block = count / (uint32_t)l->node->shape.dim[0],
                                .c = 1};
    return at_lower_broadcast(l, AT_BROADCAST_MUL, 0, &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 1);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {7}}, {1, {7}}}},
    {.in = {{2, {3, 127}}, {1, {3}}}, .low = -100, .high = 100},
    {.in = {{4, {2, 3, 5, 7}}, {1, {2}}}},
    {.in = {{3, {3, 5, 8}}, {1, {3}}}},
};

const struct at_op at_op_scale_rows = {
    .name = "scale_rows",
    .id = AT_ID_scale_rows,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .inplace = 1,
    .constant = 2,
};

struct at_node *at_scale_rows(struct at_graph *g, struct at_node *x, struct at_node *s)
{
    return at_graph_append(g, &at_op_scale_rows, (struct at_node *[]){x, s}, 2, NULL, NULL);
}

#endif
