// SPDX-License-Identifier: Apache-2.0
// Adjoint of pick: dy (N,D) placed at row index[n] of (N,L,D), zero elsewhere. attr: i[0] L.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(pick_bwd)
{
    const real *restrict dy = k->in[0];
    const int32_t *restrict index = k->in[1];
    real *restrict dx = k->out;
    int64_t length = k->node->shape.dim[1], width = k->node->shape.dim[2];
    struct at_share s = at_share_of(k, k->node->shape.dim[0] * length);
    for (int64_t row = s.begin; row < s.end; row++) {
        int64_t n = row / length, l = index[n] < 0 || index[n] >= length ? 0 : index[n];
        if (row % length == l)
            memcpy(dx + row * width, dy + n * width, (size_t)width * sizeof(real));
        else
            memset(dx + row * width, 0, (size_t)width * sizeof(real));
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape dy = n->in[0]->shape, index = n->in[1]->shape;
    if (dy.rank != 2)
        return at_infer_fail(why, size, "dy must be (N,D)");
    if (n->in[1]->dtype != AT_I32 || index.rank != 1 || index.dim[0] != dy.dim[0])
        return at_infer_fail(why, size, "one integer index a sample is needed");
    if (n->attr.i[0] < 1)
        return at_infer_fail(why, size, "a length of %d", n->attr.i[0]);
    n->shape = AT_SHAPE(dy.dim[0], n->attr.i[0], dy.dim[1]);
    n->dtype = n->in[0]->dtype;
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_pick(b->g, b->dy, b->in[1]);
}

static bool lower(struct at_lower *l)
{
    const int64_t *y = l->node->shape.dim;
    struct at_gather push = {.x = l->in[0],
                             .ids = l->in[1],
                             .y = l->out,
                             .rows = (uint32_t)(y[0] * y[1]),
                             .width = (uint32_t)y[2],
                             .limit = (uint32_t)y[1]};
    return at_lower_gather(l, AT_GATHER_PLACE, AT_F32, &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 0);
}

static const struct at_op_case cases[] = {
    {.in = {{2, {1, 1}}, {1, {1}}}, .attr = {.i = {1}}, .ints = 2, .limit = 1},
    {.in = {{2, {3, 65}}, {1, {3}}}, .attr = {.i = {7}}, .ints = 2, .limit = 7},
    {.in = {{2, {5, 3}}, {1, {5}}}, .attr = {.i = {77}}, .ints = 2, .limit = 77},
    {.in = {{2, {7, 5}}, {1, {7}}}, .attr = {.i = {2}}, .ints = 2, .limit = 6}, // indices outside
    {.in = {{2, {3, 64}}, {1, {3}}}, .attr = {.i = {5}}, .ints = 2, .limit = 5},
};

const struct at_op at_op_pick_bwd = {
    .name = "pick_bwd",
    .id = AT_ID_pick_bwd,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .constant = 2,
};

struct at_node *at_pick_bwd(struct at_graph *g, struct at_node *dy, struct at_node *index, int64_t length)
{
    struct at_attr attr = {.i = {(int32_t)length}};
    return at_graph_append(g, &at_op_pick_bwd, (struct at_node *[]){dy, index}, 2, &attr, NULL);
}

#endif
