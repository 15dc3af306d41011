// SPDX-License-Identifier: Apache-2.0
// Adjoint of conv2d in w: dw (O,KH,KW,C) from in: dy (N,OH,OW,O), x (N,H,W,C), -, residual. attr as conv2d.
// dw = dy^T patches(x). A thread owns a range of patch columns, so that no sum is shared.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/product.h"

static int64_t block_pixels(int64_t columns)
{
    int64_t block = AT_PATCH_REALS / columns;
    return block < 64 ? 64 : block > 2048 ? 2048 : block;
}

AT_HOST(conv2d_dw)
{
    const struct at_node *node = k->node;
    struct at_conv g = at_conv_of(node, node->in[1]->shape, node->shape, node->in[0]->shape);
    int64_t pixels = g.n * g.oh * g.ow, depth = g.kh * g.kw * g.c, widest = (depth + k->threads - 1) / k->threads;
    struct at_share s = at_share_of(k, depth);
    int64_t width = s.end - s.begin, block = block_pixels(widest);
    real *patches = (real *)k->scratch + k->thread * (block * widest);
    if (width <= 0)
        return;
    real beta = at_epilogue_begin(k, 0, g.o, s.begin, width, depth);
    for (int64_t p = 0; p < pixels; p += block, beta = 1) {
        int64_t count = pixels - p < block ? pixels - p : block;
        at_gather_patches(&g, k->in[1], p, p + count, s.begin, s.end, patches);
        real_gemm(true, false, g.o, width, count, 1, (const real *)k->in[0] + p * g.o, g.o, patches, width, beta,
                  (real *)k->out + s.begin, depth);
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
                                   .kernel = "conv2d_dw_f32",
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
    int64_t depth = n->shape.dim[1] * n->shape.dim[2] * n->shape.dim[3], widest = (depth + threads - 1) / threads;
    int64_t block = 384 * 1024 / widest;
    block = block < 64 ? 64 : block > 2048 ? 2048 : block;
    return (size_t)(block * widest * threads);
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

static const struct at_op_case cases[] = {
    {.in = {{4, {2, 5, 7, 4}}, {4, {2, 5, 7, 3}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .shape = {4, {4, 3, 3, 3}}},
    {.in = {{4, {2, 4, 5, 5}}, {4, {2, 7, 9, 12}}}, .attr = {.i = {2, 1, 1, 1, 1}}, .shape = {4, {5, 3, 3, 12}}},
    {.in = {{4, {1, 4, 3, 17}}, {4, {1, 8, 6, 9}}}, .attr = {.i = {2, 0, 0, 1, 1}}, .shape = {4, {17, 3, 3, 9}}},
    {.in = {{4, {1, 17, 19, 4}}, {4, {1, 17, 19, 20}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .shape = {4, {4, 3, 3, 20}}},
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
