// SPDX-License-Identifier: Apache-2.0
// Adjoint of conv2d in w: dw (O,KH,KW,C) from in: dy (N,OH,OW,O), x (N,H,W,C), -, residual. attr as conv2d.
// dw = dy^T patches(x). A thread owns a range of patch columns, so that no sum is shared.
#include "core/cpu/product.h"

#define PIXELS 512 // whose addresses a thread lists at a time; a multiple of a packed panel's depth

#ifdef AT_KERNEL

AT_HOST(conv2d_dw)
{
    const struct at_node *node = k->node;
    struct at_conv g = at_conv_of(node, node->in[1]->shape, node->shape, node->in[0]->shape);
    int64_t pixels = g.n * g.oh * g.ow, taps = g.kh * g.kw, depth = taps * g.c;
    struct at_share s = at_share_grain(k, depth, 16);
    real *zeros = (real *)k->scratch + k->thread * at_conv_scratch(g.c, PIXELS * taps);
    const real **x = (const real **)(void *)(zeros + at_conv_scratch(g.c, 0));
    if (s.begin >= s.end)
        return;
    memset(zeros, 0, (size_t)g.c * sizeof(real));
    bool add = at_epilogue_begin(k, 0, g.o, s.begin, s.end - s.begin, depth);
    for (int64_t p = 0; p < pixels; p += PIXELS, add = true) {
        int64_t count = pixels - p < PIXELS ? pixels - p : PIXELS;
        at_patch_rows(&g, k->in[1], p, p + count, zeros, x);
        gemm_by_outer(&(struct gemm_outer){g.o, g.c, count, (const real *)k->in[0] + p * g.o, g.o, x, NULL, 0, s.begin,
                                           s.end, k->out, depth, 1, add});
    }
}

#else
#include "core/ops/product.h"

struct dw_push {
    struct at_product_head head;
    uint32_t h, w, c, tap_w;
    uint32_t pixels, out_h, out_w;
    uint32_t step, top, left;
};
_Static_assert(sizeof(struct dw_push) == 96, "shaders/conv2d_dw.comp");

static bool lower(struct at_lower *l)
{
    struct at_shape dy = l->node->in[0]->shape, x = l->node->in[1]->shape, w = l->node->shape;
    const int32_t *attr = l->node->attr.i;
    uint32_t outputs = (uint32_t)w.dim[0], columns = at_lower_count(AT_SHAPE(w.dim[1], w.dim[2], w.dim[3]));
    struct dw_push push = {
        .head = {l->in[0], l->in[1], l->out, 0, l->in[3], outputs, columns, 0, 1},
        .h = (uint32_t)x.dim[1],
        .w = (uint32_t)x.dim[2],
        .c = (uint32_t)x.dim[3],
        .tap_w = (uint32_t)w.dim[2],
        .pixels = (uint32_t)at_shape_rows(dy),
        .out_h = (uint32_t)dy.dim[1],
        .out_w = (uint32_t)dy.dim[2],
        .step = (uint32_t)attr[0],
        .top = (uint32_t)attr[1],
        .left = (uint32_t)attr[2],
    };
    return at_lower_product(l, &(struct at_product_params){
                                   .kernel = "conv2d_dw",
                                   .push = &push.head,
                                   .push_size = sizeof(push),
                                   .k_segments = 1,
                                   .k_length = push.pixels,
                                   .splits = at_product_splits(outputs, columns, push.pixels),
                                   .a_wide = outputs % 4 == 0,
                                   .b_wide = push.c % 4 == 0,
                                   .y_wide = columns % 4 == 0,
                                   .y_plain = true,
                               });
}

static size_t vulkan_scratch(const struct at_node *n)
{
    struct at_shape w = n->shape;
    return at_product_scratch(w.dim[0], w.dim[1] * w.dim[2] * w.dim[3], at_shape_rows(n->in[0]->shape));
}

static size_t scratch(const struct at_node *n, int threads)
{
    struct at_shape w = n->shape;
    return (size_t)(at_conv_scratch(w.dim[3], PIXELS * w.dim[1] * w.dim[2]) * threads);
}

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape dy = n->in[0]->shape, x = n->in[1]->shape, w = n->shape;
    const int32_t *a = n->attr.i;
    if (dy.rank != 4 || w.rank != 4 || x.rank != 4 || dy.dim[3] != w.dim[0] || x.dim[3] != w.dim[3] ||
        (x.dim[1] + a[1] + a[3] - w.dim[1]) / a[0] + 1 != dy.dim[1] ||
        (x.dim[2] + a[2] + a[4] - w.dim[2]) / a[0] + 1 != dy.dim[2])
        return at_infer_fail(why, size, "dy and x do not fit the shape of w");
    return true;
}

static struct at_cost cost(const struct at_node *n)
{
    double depth = (double)(n->shape.dim[1] * n->shape.dim[2] * n->shape.dim[3]);
    return (struct at_cost){2 * depth * (double)at_shape_count(n->in[0]->shape), at_cost_bytes(n)};
}

// dy^T times patches (pixels, taps C).
static bool product(const struct at_node *n, struct at_product_shape *p)
{
    struct at_shape w = n->shape;
    *p = (struct at_product_shape){.ta = true, .m = w.dim[0], .n = w.dim[1] * w.dim[2] * w.dim[3],
                                   .k = at_shape_rows(n->in[0]->shape)};
    return true;
}

static const struct at_op_case cases[] = {
    {.in = {{4, {2, 5, 7, 4}}, {4, {2, 5, 7, 3}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .shape = {4, {4, 3, 3, 3}}},
    {.in = {{4, {2, 4, 5, 5}}, {4, {2, 7, 9, 12}}}, .attr = {.i = {2, 1, 1, 1, 1}}, .shape = {4, {5, 3, 3, 12}}},
    {.in = {{4, {1, 4, 3, 17}}, {4, {1, 8, 6, 9}}}, .attr = {.i = {2, 0, 0, 1, 1}}, .shape = {4, {17, 3, 3, 9}}},
    {.in = {{4, {1, 17, 19, 4}}, {4, {1, 17, 19, 20}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .shape = {4, {4, 3, 3, 20}}},
    // Large enough for the larger tiles of a GPU; the gradient is that of the smaller ones.
    {.in = {{4, {2, 6, 5, 900}}, {4, {2, 6, 5, 112}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .shape = {4, {900, 3, 3, 112}}},
    {.in = {{4, {1, 3, 5, 620}}, {4, {1, 6, 9, 68}}}, .attr = {.i = {2, 1, 1, 1, 1}}, .shape = {4, {620, 3, 3, 68}}},
    {.in = {{4, {1, 3, 4, 4}}, {4, {1, 3, 4, 2736}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .shape = {4, {4, 3, 3, 2736}}},
    {.in = {{4, {2, 6, 5, 9}}, {4, {2, 6, 5, 1}}}, .attr = {.i = {1}}, .shape = {4, {9, 1, 1, 1}}},
    {.in = {{4, {3, 31, 30, 8}}, {4, {3, 31, 30, 6}}, {0}, {4, {8, 3, 3, 6}}},
     .attr = {.i = {1, 1, 1, 1, 1}},
     .shape = {4, {8, 3, 3, 6}}},
};

const struct at_op at_op_conv2d_dw = {
    .name = "conv2d_dw",
    .id = AT_ID_conv2d_dw,
    .required = 2,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    .product = product,
    AT_CASES(cases),
    .inplace = 1u << 3,
    .takes = 1u << AT_EPILOGUE_RESIDUAL,
};

struct at_node *at_conv2d_dw(struct at_graph *g, struct at_node *dy, struct at_node *x, struct at_shape w_shape,
                             const struct at_attr *conv)
{
    return at_graph_append(g, &at_op_conv2d_dw, (struct at_node *[]){dy, x}, 2, conv, &w_shape);
}

#endif
