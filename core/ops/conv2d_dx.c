// SPDX-License-Identifier: Apache-2.0
// Adjoint of conv2d in x: dx (N,H,W,C) from in: dy (N,OH,OW,O), w (O,KH,KW,C) or halves, -, residual. attr as conv2d.
// With a stride, pixels fall into stride x stride classes that meet different taps; each class is a product of its own.
#include "core/cpu/product.h"

#ifdef AT_KERNEL
#include "core/cpu/half.h"

// A thread's pixels of one class, and the taps that reach them.
struct pixels {
    const real *zeros;
    const real **dy; // (taps, count)
    const void **w;  // (taps)
    real *dx[AT_CONV_ROWS];
    int64_t count, taps;
};

// Of input pixels [p0, p1), those whose padded position is (cy,cx) modulo the stride.
static void select_class(const struct at_conv *g, const struct at_kernel *k, int64_t p0, int64_t p1, int64_t cy,
                         int64_t cx, struct pixels *c)
{
    int64_t pixel[AT_CONV_ROWS];
    c->count = c->taps = 0;
    for (int64_t p = p0; p < p1; p++) {
        if ((p % g->w + g->left) % g->stride != cx || (p / g->w % g->h + g->top) % g->stride != cy)
            continue;
        c->dx[c->count] = (real *)k->out + p * g->c;
        pixel[c->count++] = p;
    }
    for (int64_t y = cy; y < g->kh; y += g->stride)
        for (int64_t x = cx; x < g->kw; x += g->stride) {
            const real **row = c->dy + c->taps * c->count;
            c->w[c->taps++] = at_element(k->in[1], k->node->in[1]->dtype, (y * g->kw + x) * g->c);
            for (int64_t i = 0; i < c->count; i++) {
                int64_t ix = pixel[i] % g->w, iy = pixel[i] / g->w % g->h, n = pixel[i] / (g->w * g->h);
                int64_t oy = iy + g->top - y, ox = ix + g->left - x;
                bool inside = oy >= 0 && ox >= 0 && oy < g->oh * g->stride && ox < g->ow * g->stride;
                oy /= g->stride;
                ox /= g->stride;
                row[i] = inside ? (const real *)k->in[0] + ((n * g->oh + oy) * g->ow + ox) * g->o : c->zeros;
            }
        }
}

AT_HOST(conv2d_dx)
{
    const struct at_node *node = k->node;
    struct at_conv g = at_conv_of(node, node->shape, node->in[1]->shape, node->in[0]->shape);
    int64_t pixels = g.n * g.h * g.w, taps = g.kh * g.kw;
    real *zeros = (real *)k->scratch + k->thread * at_conv_scratch(g.o, (AT_CONV_ROWS + 1) * (taps + 1));
    struct pixels c = {.zeros = zeros, .dy = (const real **)(void *)(zeros + at_conv_scratch(g.o, 0))};
    c.w = (const void **)(c.dy + AT_CONV_ROWS * taps);
    memset(zeros, 0, (size_t)g.o * sizeof(real));
    struct at_share s = at_share_grain(k, pixels, 16);
    for (int64_t p = s.begin; p < s.end; p += AT_CONV_ROWS) {
        int64_t end = s.end - p < AT_CONV_ROWS ? s.end : p + AT_CONV_ROWS;
        bool add = at_epilogue_begin(k, p, end - p, 0, g.c, g.c);
        for (int64_t class = 0; class < g.stride * g.stride; class++) {
            select_class(&g, k, p, end, class / g.stride, class % g.stride, &c);
            gemm_by_taps(&(struct gemm_taps){c.count, g.c, c.taps, g.o, c.dy, c.w, taps * g.c, 1, c.dx, 1, add,
                                             node->in[1]->dtype});
        }
    }
}

#else
#include "core/ops/product.h"

// Along one axis, pixels of residue `at` modulo the stride meet the taps of one residue: taps tap0, tap0 + stride, ...,
// `taps` of them, and pixel at + stride j meets dy[j + from - t] through the t-th.
struct phase {
    int64_t pixels, tap0, taps, from;
};

static struct phase phase_of(int64_t at, int64_t stride, int64_t size, int64_t taps, int64_t pad)
{
    struct phase p = {.pixels = at < size ? (size - at + stride - 1) / stride : 0, .tap0 = (at + pad) % stride};
    p.taps = p.tap0 < taps ? (taps - p.tap0 + stride - 1) / stride : 0;
    p.from = (at + pad - p.tap0) / stride;
    return p;
}

static bool lower_phase(struct at_lower *l, int64_t at_y, int64_t at_x, uint32_t splits)
{
    struct at_shape dy = l->node->in[0]->shape, w = l->node->in[1]->shape, x = l->node->shape;
    int64_t stride = l->node->attr.i[0], channels = x.dim[3], tap = w.dim[2] * channels;
    struct phase v = phase_of(at_y, stride, x.dim[1], w.dim[1], l->node->attr.i[1]);
    struct phase u = phase_of(at_x, stride, x.dim[2], w.dim[2], l->node->attr.i[2]);
    int64_t rows = x.dim[0] * v.pixels * u.pixels;
    if (rows == 0)
        return true;
    struct at_conv_push push = {
        .head = {l->in[0], l->in[1], l->out, 0, l->in[3], (uint32_t)rows, (uint32_t)channels, 0, 1},
        .h = (uint32_t)dy.dim[1],
        .w = (uint32_t)dy.dim[2],
        .c = (uint32_t)dy.dim[3],
        .taps = (uint32_t)v.taps | (uint32_t)u.taps << 16,
        .row_h = (uint32_t)v.pixels,
        .row_w = (uint32_t)u.pixels,
        .step = 1,
        .from_y = (int32_t)v.from,
        .from_x = (int32_t)u.from,
        .ldb = (uint32_t)(w.dim[1] * tap),
        .tap_at = (uint32_t)(v.tap0 * tap + u.tap0 * channels),
        .tap_y = (uint32_t)(stride * tap),
        .tap_x = (uint32_t)(stride * channels),
        .y_at = (uint32_t)((at_y * x.dim[2] + at_x) * channels),
        .y_n = (uint32_t)(x.dim[1] * x.dim[2] * channels),
        .y_v = (uint32_t)(stride * x.dim[2] * channels),
        .y_u = (uint32_t)(stride * channels),
    };
    return at_lower_product(l, &(struct at_product_params){
                                   .kernel = "conv2d",
                                   .b_type = l->node->in[1]->dtype,
                                   .push = &push.head,
                                   .push_size = sizeof(push),
                                   .k_segments = (uint32_t)(v.taps * u.taps),
                                   .k_length = push.c,
                                   .splits = splits,
                                   .a_rows = true,
                                   .a_wide = dy.dim[3] % 4 == 0,
                                   .b_wide = channels % 4 == 0,
                                   .y_wide = channels % 4 == 0,
                                   .y_plain = stride == 1,
                                   .flip = true,
                               });
}

static uint32_t splits_of(const struct at_node *n)
{
    struct at_shape w = n->in[1]->shape;
    if (n->attr.i[0] > 1)
        return 1;
    return at_product_splits(at_shape_rows(n->shape), w.dim[3], w.dim[0] * w.dim[1] * w.dim[2]);
}

static bool lower(struct at_lower *l)
{
    int64_t stride = l->node->attr.i[0];
    for (int64_t i = 0; i < stride * stride; i++)
        if (!lower_phase(l, i / stride, i % stride, splits_of(l->node)))
            return false;
    return true;
}

static size_t vulkan_scratch(const struct at_node *n)
{
    uint32_t splits = splits_of(n);
    return splits > 1 ? (size_t)at_shape_count(n->shape) * splits * 4 : 0;
}

static size_t scratch(const struct at_node *n, int threads)
{
    struct at_shape w = n->in[1]->shape;
    return (size_t)(at_conv_scratch(w.dim[0], (AT_CONV_ROWS + 1) * (w.dim[1] * w.dim[2] + 1)) * threads);
}

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape dy = n->in[0]->shape, w = n->in[1]->shape, x = n->shape;
    const int32_t *a = n->attr.i;
    if (dy.rank != 4 || w.rank != 4 || x.rank != 4 || dy.dim[3] != w.dim[0] || x.dim[3] != w.dim[3] ||
        (x.dim[1] + a[1] + a[3] - w.dim[1]) / a[0] + 1 != dy.dim[1] ||
        (x.dim[2] + a[2] + a[4] - w.dim[2]) / a[0] + 1 != dy.dim[2])
        return at_infer_fail(why, size, "dy and w do not fit the shape of x");
    return true;
}

static struct at_cost cost(const struct at_node *n)
{
    struct at_shape w = n->in[1]->shape;
    double depth = (double)(w.dim[1] * w.dim[2] * w.dim[3]);
    return (struct at_cost){2 * depth * (double)at_shape_count(n->in[0]->shape), at_cost_bytes(n)};
}

// Patches of dy (pixels, taps O) times w (taps O, C).
static bool product(const struct at_node *n, struct at_product_shape *p)
{
    struct at_shape w = n->in[1]->shape;
    *p = (struct at_product_shape){.m = at_shape_rows(n->shape), .n = w.dim[3], .k = w.dim[0] * w.dim[1] * w.dim[2]};
    return n->attr.i[0] == 1;
}

static const struct at_op_case cases[] = {
    {.in = {{4, {2, 5, 7, 4}}, {4, {4, 3, 3, 3}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .shape = {4, {2, 5, 7, 3}}},
    {.in = {{4, {2, 4, 5, 5}}, {4, {5, 3, 3, 12}}}, .attr = {.i = {2, 1, 1, 1, 1}}, .shape = {4, {2, 7, 9, 12}}},
    {.in = {{4, {1, 4, 3, 17}}, {4, {17, 3, 3, 9}}}, .attr = {.i = {2, 0, 0, 1, 1}}, .shape = {4, {1, 8, 6, 9}}},
    {.in = {{4, {1, 2, 3, 5}}, {4, {5, 2, 3, 4}}}, .attr = {.i = {3, 0, 1, 0, 1}}, .shape = {4, {1, 7, 8, 4}}},
    // Pixels without taps.
    {.in = {{4, {2, 3, 3, 6}}, {4, {6, 1, 1, 5}}}, .attr = {.i = {2}}, .shape = {4, {2, 5, 6, 5}}},
    // Large enough for the larger tiles of a GPU; the gradient is that of the smaller ones.
    {.in = {{4, {1, 30, 31, 16}}, {4, {16, 3, 3, 1000}}},
     .attr = {.i = {1, 1, 1, 1, 1}},
     .shape = {4, {1, 30, 31, 1000}}},
    {.in = {{4, {1, 25, 26, 12}}, {4, {12, 2, 2, 620}}}, .attr = {.i = {1, 1, 1}}, .shape = {4, {1, 25, 26, 620}}},
    {.in = {{4, {1, 12, 11, 40}}, {4, {40, 3, 3, 12}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .shape = {4, {1, 12, 11, 12}}},
    {.in = {{4, {3, 20, 20, 8}}, {4, {8, 3, 3, 6}}, {0}, {4, {3, 20, 20, 6}}},
     .attr = {.i = {1, 1, 1, 1, 1}},
     .shape = {4, {3, 20, 20, 6}}},
    // w of halves.
    {.in = {{4, {2, 5, 7, 4}}, {4, {4, 3, 3, 3}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .shape = {4, {2, 5, 7, 3}}, .f16 = 2},
    {.in = {{4, {2, 4, 5, 5}}, {4, {5, 3, 3, 12}}}, .attr = {.i = {2, 1, 1, 1, 1}}, .shape = {4, {2, 7, 9, 12}},
     .bf16 = 2},
    {.in = {{4, {1, 30, 31, 16}}, {4, {16, 3, 3, 1000}}}, .attr = {.i = {1, 1, 1, 1, 1}},
     .shape = {4, {1, 30, 31, 1000}}, .f16 = 2},
    {.in = {{4, {1, 12, 11, 64}}, {4, {64, 3, 3, 12}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .shape = {4, {1, 12, 11, 12}},
     .bf16 = 2},
};

const struct at_op at_op_conv2d_dx = {
    .name = "conv2d_dx",
    .id = AT_ID_conv2d_dx,
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
    .half = 1u << 1,
    .takes = 1u << AT_EPILOGUE_RESIDUAL,
};

struct at_node *at_conv2d_dx(struct at_graph *g, struct at_node *dy, struct at_node *w, struct at_shape x_shape,
                             const struct at_attr *conv)
{
    return at_graph_append(g, &at_op_conv2d_dx, (struct at_node *[]){dy, w}, 2, conv, &x_shape);
}

#endif
