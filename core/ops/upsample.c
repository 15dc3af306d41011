// SPDX-License-Identifier: Apache-2.0
// Nearest neighbour: x (N,H,W,C) -> (N,h,w,C), y[i,j] = x[floor(i H / h), floor(j W / w)]. attr: i[0] h, i[1] w.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(upsample)
{
    const real *restrict x = k->in[0];
    real *restrict y = k->out;
    const int64_t *xd = k->node->in[0]->shape.dim, *yd = k->node->shape.dim;
    int64_t xh = xd[1], xw = xd[2], channels = xd[3], h = yd[1], w = yd[2];
    struct at_share s = at_share_of(k, yd[0] * h * w); // pixels
    for (int64_t p = s.begin; p < s.end;) {
        int64_t row = p / w, j = p % w, n = row / h, i = row % h;
        const real *from = x + (n * xh + i * xh / h) * xw * channels;
        for (; j < w && p < s.end; j++, p++)
            memcpy(y + p * channels, from + j * xw / w * channels, (size_t)channels * sizeof(real));
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (n->in[0]->shape.rank != 4)
        return at_infer_fail(why, size, "an image (N,H,W,C) is needed");
    if (n->attr.i[0] < 1 || n->attr.i[1] < 1)
        return at_infer_fail(why, size, "height %d and width %d must be positive", n->attr.i[0], n->attr.i[1]);
    at_infer_same(n, why, size);
    n->shape.dim[1] = n->attr.i[0];
    n->shape.dim[2] = n->attr.i[1];
    return true;
}

static void backward(struct at_backward *b)
{
    const int64_t *xd = b->in[0]->shape.dim;
    b->dx[0] = at_upsample_bwd(b->g, b->dy, xd[1], xd[2]);
}

static bool lower(struct at_lower *l)
{
    return at_lower_upsample(l, false);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 0);
}

static const struct at_op_case cases[] = {
    {.in = {{4, {1, 1, 1, 1}}}, .attr = {.i = {3, 2}}},
    {.in = {{4, {2, 3, 5, 65}}}, .attr = {.i = {6, 10}}},
    {.in = {{4, {2, 4, 7, 3}}}, .attr = {.i = {7, 13}}},
    {.in = {{4, {1, 7, 5, 4}}}, .attr = {.i = {3, 5}}}, // smaller: some pixels are not read
    {.in = {{4, {2, 3, 5, 64}}}, .attr = {.i = {6, 10}}, .halves = 1},
    {.in = {{4, {2, 4, 7, 4}}}, .attr = {.i = {7, 13}}, .halves = 1 | AT_HALVES_Y, .tolerance = AT_HALVES_ERROR},
};

const struct at_op at_op_upsample = {
    .name = "upsample",
    .id = AT_ID_upsample,
    .required = 1,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .halves = 1 | AT_HALVES_Y,
    .cheap = true,
};

struct at_node *at_upsample(struct at_graph *g, struct at_node *x, int64_t h, int64_t w)
{
    return at_graph_append(g, &at_op_upsample, &x, 1, &(struct at_attr){.i = {(int32_t)h, (int32_t)w}}, NULL);
}

#endif
