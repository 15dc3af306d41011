// SPDX-License-Identifier: Apache-2.0
// Difference along image axis 1 or 2: y[i] = x[i + 1] - x[i], one smaller there. attr: i[0] axis.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(diff)
{
    const real *restrict x = k->in[0];
    real *restrict y = k->out;
    const int64_t *d = k->node->in[0]->shape.dim;
    int64_t inner = k->node->attr.i[0] == 1 ? d[2] * d[3] : d[3];
    int64_t block = (d[k->node->attr.i[0]] - 1) * inner; // of y; x has `inner` more
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
    for (int64_t i = s.begin; i < s.end;) {
        int64_t b = i / block, n = block - i % block;
        if (n > s.end - i)
            n = s.end - i;
        const real *from = x + i + b * inner;
        for (int64_t j = 0; j < n; j++)
            y[i + j] = from[j + inner] - from[j];
        i += n;
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    int axis = n->attr.i[0];
    if (n->in[0]->shape.rank != 4 || axis < 1 || axis > 2)
        return at_infer_fail(why, size, "an image (N,H,W,C) and axis 1 or 2 are needed, not axis %d", axis);
    if (n->in[0]->shape.dim[axis] < 2)
        return at_infer_fail(why, size, "axis %d has fewer than 2 elements", axis);
    at_infer_same(n, why, size);
    n->shape.dim[axis]--;
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_diff_bwd(b->g, b->dy, b->node->attr.i[0]);
}

static bool lower(struct at_lower *l)
{
    return at_lower_diff(l, false);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 1);
}

static const struct at_op_case cases[] = {
    {.in = {{4, {1, 2, 1, 1}}}, .attr = {.i = {1}}},
    {.in = {{4, {2, 5, 7, 3}}}, .attr = {.i = {1}}},
    {.in = {{4, {3, 5, 2, 65}}}, .attr = {.i = {2}}},
    {.in = {{4, {2, 3, 127, 4}}}, .attr = {.i = {2}}},
};

const struct at_op at_op_diff = {
    .name = "diff",
    .id = AT_ID_diff,
    .required = 1,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_diff(struct at_graph *g, struct at_node *x, int axis)
{
    return at_graph_append(g, &at_op_diff, &x, 1, &(struct at_attr){.i = {axis}}, NULL);
}

#endif
