// SPDX-License-Identifier: Apache-2.0
// Adjoint of upsample: dy (N,h,w,C) -> dx (N,H,W,C), each pixel the sum of those that read it. attr: i[0] H, i[1] W.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// The first i with floor(i * from / to) >= at.
static inline int64_t first_reader(int64_t at, int64_t from, int64_t to)
{
    return (at * to + from - 1) / from;
}

static inline void add_row(real *restrict y, const real *restrict x, int64_t n)
{
    for (int64_t c = 0; c < n; c++)
        y[c] += x[c];
}

AT_HOST(upsample_bwd)
{
    const real *dy = k->in[0];
    real *dx = k->out;
    const int64_t *yd = k->node->in[0]->shape.dim, *xd = k->node->shape.dim;
    int64_t xh = xd[1], xw = xd[2], channels = xd[3], h = yd[1], w = yd[2];
    struct at_share s = at_share_of(k, xd[0] * xh * xw); // pixels
    for (int64_t p = s.begin; p < s.end; p++) {
        int64_t n = p / (xh * xw), at_h = p / xw % xh, at_w = p % xw;
        int64_t i1 = first_reader(at_h + 1, xh, h), j0 = first_reader(at_w, xw, w), j1 = first_reader(at_w + 1, xw, w);
        real *to = dx + p * channels;
        bool first = true;
        for (int64_t i = first_reader(at_h, xh, h); i < i1; i++) {
            for (int64_t j = j0; j < j1; j++) {
                const real *from = dy + ((n * h + i) * w + j) * channels;
                if (first)
                    memcpy(to, from, (size_t)channels * sizeof(real));
                else
                    add_row(to, from, channels);
                first = false;
            }
        }
        if (first)
            memset(to, 0, (size_t)channels * sizeof(real));
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (n->in[0]->shape.rank != 4)
        return at_infer_fail(why, size, "an image (N,h,w,C) is needed");
    if (n->attr.i[0] < 1 || n->attr.i[1] < 1)
        return at_infer_fail(why, size, "height %d and width %d must be positive", n->attr.i[0], n->attr.i[1]);
    at_infer_same(n, why, size);
    n->shape.dim[1] = n->attr.i[0];
    n->shape.dim[2] = n->attr.i[1];
    return true;
}

static void backward(struct at_backward *b)
{
    const int64_t *yd = b->in[0]->shape.dim;
    b->dx[0] = at_upsample(b->g, b->dy, yd[1], yd[2]);
}

static bool lower(struct at_lower *l)
{
    return at_lower_upsample(l, true);
}

static struct at_cost cost(const struct at_node *n)
{
    return (struct at_cost){(double)at_shape_count(n->in[0]->shape), at_cost_bytes(n)};
}

static const struct at_op_case cases[] = {
    {.in = {{4, {1, 3, 2, 1}}}, .attr = {.i = {1, 1}}},
    {.in = {{4, {2, 6, 10, 65}}}, .attr = {.i = {3, 5}}},
    {.in = {{4, {2, 7, 13, 3}}}, .attr = {.i = {4, 7}}},
    {.in = {{4, {1, 3, 5, 4}}}, .attr = {.i = {7, 5}}},
};

const struct at_op at_op_upsample_bwd = {
    .name = "upsample_bwd",
    .id = AT_ID_upsample_bwd,
    .required = 1,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_upsample_bwd(struct at_graph *g, struct at_node *dy, int64_t h, int64_t w)
{
    return at_graph_append(g, &at_op_upsample_bwd, &dy, 1, &(struct at_attr){.i = {(int32_t)h, (int32_t)w}}, NULL);
}

#endif
