// SPDX-License-Identifier: Apache-2.0
// One row a sample: x (N,L,D), index (N) integers -> (N,D), y[n] = x[n, index[n]]. An index outside is read as 0.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(pick)
{
    const real *restrict x = k->in[0];
    const int32_t *restrict index = k->in[1];
    real *restrict y = k->out;
    int64_t length = k->node->in[0]->shape.dim[1], width = k->node->in[0]->shape.dim[2];
    struct at_share s = at_share_of(k, k->node->shape.dim[0]);
    for (int64_t n = s.begin; n < s.end; n++) {
        int64_t l = index[n] < 0 || index[n] >= length ? 0 : index[n];
        memcpy(y + n * width, x + (n * length + l) * width, (size_t)width * sizeof(real));
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape x = n->in[0]->shape, index = n->in[1]->shape;
    if (x.rank != 3)
        return at_infer_fail(why, size, "x must be (N,L,D)");
    if (n->in[1]->dtype != AT_I32 || index.rank != 1 || index.dim[0] != x.dim[0])
        return at_infer_fail(why, size, "one integer index a sample is needed");
    n->shape = AT_SHAPE(x.dim[0], x.dim[2]);
    n->dtype = n->in[0]->dtype;
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_pick_bwd(b->g, b->dy, b->in[1], b->in[0]->shape.dim[1]);
}

static bool lower(struct at_lower *l)
{
    const int64_t *x = l->node->in[0]->shape.dim;
    struct at_gather push = {.x = l->in[0],
                             .ids = l->in[1],
                             .y = l->out,
                             .rows = (uint32_t)x[0],
                             .width = (uint32_t)x[2],
                             .limit = (uint32_t)x[1],
                             .stride = (uint32_t)x[1]};
    return at_lower_gather(l, AT_GATHER_READ, AT_F32, &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return (struct at_cost){0, 8.0 * (double)at_shape_count(n->shape) + 4.0 * (double)n->shape.dim[0]};
}

static const struct at_op_case cases[] = {
    {.in = {{3, {1, 1, 1}}, {1, {1}}}, .ints = 2, .limit = 1},
    {.in = {{3, {3, 7, 65}}, {1, {3}}}, .ints = 2, .limit = 7},
    {.in = {{3, {5, 77, 3}}, {1, {5}}}, .ints = 2, .limit = 77},
    {.in = {{3, {7, 2, 5}}, {1, {7}}}, .ints = 2, .limit = 6}, // indices outside
    {.in = {{3, {3, 5, 64}}, {1, {3}}}, .ints = 2, .limit = 5},
};

const struct at_op at_op_pick = {
    .name = "pick",
    .id = AT_ID_pick,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .constant = 2,
};

struct at_node *at_pick(struct at_graph *g, struct at_node *x, struct at_node *index)
{
    return at_graph_append(g, &at_op_pick, (struct at_node *[]){x, index}, 2, NULL, NULL);
}

#endif
