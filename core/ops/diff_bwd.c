// SPDX-License-Identifier: Apache-2.0
// Adjoint of diff: dx[i] = dy[i - 1] - dy[i], where what is outside counts as 0. attr: i[0] axis.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// Elements [begin, end) of a block: dy has `small` there, dx `inner` more.
static inline void block_bwd(real *restrict dx, const real *restrict dy, int64_t begin, int64_t end, int64_t inner,
                             int64_t small)
{
    int64_t i = begin, head = end < inner ? end : inner, body = end < small ? end : small;
    for (; i < head; i++)
        dx[i] = -dy[i];
    for (; i < body; i++)
        dx[i] = dy[i - inner] - dy[i];
    for (; i < end; i++)
        dx[i] = dy[i - inner];
}

AT_HOST(diff_bwd)
{
    const real *dy = k->in[0];
    real *dx = k->out;
    const int64_t *d = k->node->shape.dim;
    int64_t inner = k->node->attr.i[0] == 1 ? d[2] * d[3] : d[3];
    int64_t block = d[k->node->attr.i[0]] * inner, small = block - inner;
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
    for (int64_t i = s.begin; i < s.end;) {
        int64_t b = i / block, e = i % block, n = block - e;
        if (n > s.end - i)
            n = s.end - i;
        block_bwd(dx + b * block, dy + b * small, e, e + n, inner, small);
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
    at_infer_same(n, why, size);
    n->shape.dim[axis]++;
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_diff(b->g, b->dy, b->node->attr.i[0]);
}

static bool lower(struct at_lower *l)
{
    return at_lower_diff(l, true);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 1);
}

static const struct at_op_case cases[] = {
    {.in = {{4, {1, 1, 1, 1}}}, .attr = {.i = {1}}},
    {.in = {{4, {2, 5, 7, 3}}}, .attr = {.i = {1}}},
    {.in = {{4, {3, 5, 1, 65}}}, .attr = {.i = {2}}},
    {.in = {{4, {2, 3, 127, 4}}}, .attr = {.i = {2}}},
};

const struct at_op at_op_diff_bwd = {
    .name = "diff_bwd",
    .id = AT_ID_diff_bwd,
    .required = 1,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_diff_bwd(struct at_graph *g, struct at_node *dy, int axis)
{
    return at_graph_append(g, &at_op_diff_bwd, &dy, 1, &(struct at_attr){.i = {axis}}, NULL);
}

#endif
