// SPDX-License-Identifier: Apache-2.0
// 2-D convolution: y = act(conv(x, w) + bias) + residual, as a product of patches with w.
// in: x (N,H,W,C), w (O,KH,KW,C), which may be of halves, bias (O), residual. attr: i[0] stride, i[1..4] top left bottom right, i[7] activation.
#include "core/cpu/product.h"

// Patches of so few channels are gathered, as reading them by address costs more than their arithmetic.
#define FEW 8

// Reals a thread needs: zeros and addresses, then gathered patches.
static int64_t thread_scratch(int64_t taps, int64_t c)
{
    return at_conv_scratch(c, (AT_CONV_ROWS + 1) * (taps + 1)) + (c <= FEW ? AT_CONV_ROWS * taps * c : 0);
}

#ifdef AT_KERNEL
#include "core/cpu/half.h"

// to = n reals of from; n is a multiple of `step`.
static inline void copy(real *restrict to, const real *restrict from, int64_t n, int64_t step)
{
    for (int64_t i = 0; i < n; i += step)
        memcpy(to + i, from + i, (size_t)step * sizeof(real));
}

// Patches of pixels [p0, p1) into `to` (pixels, kh, kw, c), taps outside the image as zeros, and their addresses to x.
static inline void gather(const struct at_conv *g, const real *image, int64_t p0, int64_t p1, int64_t step, real *to,
                          const real **x)
{
    int64_t ox = p0 % g->ow, oy = p0 / g->ow % g->oh, n = p0 / (g->ow * g->oh), run = g->kw * g->c;
    for (int64_t p = p0; p < p1; p++) {
        *x++ = to;
        int64_t left = ox * g->stride - g->left, top = oy * g->stride - g->top;
        int64_t begin = left < 0 ? -left : 0, end = g->w - left < g->kw ? g->w - left : g->kw;
        for (int64_t y = top; y < top + g->kh; y++, to += run) {
            int64_t from = ((n * g->h + y) * g->w + left) * g->c; // may lie before the image
            bool row = y >= 0 && y < g->h && begin < end;
            if (row && begin == 0 && end == g->kw) {
                copy(to, image + from, run, step);
                continue;
            }
            memset(to, 0, (size_t)run * sizeof(real));
            if (row)
                copy(to + begin * g->c, image + from + begin * g->c, (end - begin) * g->c, step);
        }
        at_pixel_next(g, &ox, &oy, &n);
    }
}

AT_HOST(conv2d)
{
    const struct at_node *node = k->node;
    struct at_conv g = at_conv_of(node, node->in[0]->shape, node->in[1]->shape, node->shape);
    int64_t pixels = g.n * g.oh * g.ow, taps = g.kh * g.kw;
    real *zeros = (real *)k->scratch + k->thread * thread_scratch(taps, g.c);
    real *patches = zeros + at_conv_scratch(g.c, (AT_CONV_ROWS + 1) * (taps + 1));
    const real **x = (const real **)(void *)(zeros + at_conv_scratch(g.c, 0));
    const void **w = (const void **)(x + AT_CONV_ROWS * taps);
    enum at_dtype type = node->in[1]->dtype;
    real *y[AT_CONV_ROWS];
    memset(zeros, 0, (size_t)g.c * sizeof(real));
    for (int64_t t = 0; t < taps; t++)
        w[t] = at_element(k->in[1], type, t * g.c);
    struct at_share s = at_share_grain(k, pixels, 16);
    for (int64_t p = s.begin; p < s.end; p += AT_CONV_ROWS) {
        int64_t count = s.end - p < AT_CONV_ROWS ? s.end - p : AT_CONV_ROWS;
        if (g.c > FEW)
            at_patch_rows(&g, k->in[0], p, p + count, zeros, x);
        else if (g.c == 4)
            gather(&g, k->in[0], p, p + count, 4, patches, x); // a vector each
        else
            gather(&g, k->in[0], p, p + count, 1, patches, x);
        for (int64_t i = 0; i < count; i++)
            y[i] = (real *)k->out + (p + i) * g.o;
        bool add = at_epilogue_begin(k, p, count, 0, g.o, g.o);
        struct gemm_taps by = {count, g.o, g.c <= FEW ? 1 : taps, g.c <= FEW ? taps * g.c : g.c, x, w, 1, taps * g.c,
                               y,     1,   add,                   type};
        gemm_by_taps(&by);
        at_epilogue_end(k, p, count, 0, g.o, g.o);
    }
}

#else
#include "core/ops/product.h"

static bool lower(struct at_lower *l)
{
    struct at_shape x = l->node->in[0]->shape, w = l->node->in[1]->shape, y = l->node->shape;
    const int32_t *attr = l->node->attr.i;
    uint32_t c = at_lower_count(AT_SHAPE(x.dim[3])), depth = at_lower_count(AT_SHAPE(w.dim[1], w.dim[2], w.dim[3]));
    uint32_t pixels = at_lower_count(AT_SHAPE(y.dim[0], y.dim[1], y.dim[2])), outputs = (uint32_t)w.dim[0];
    struct at_conv_push push = {
        .head = {l->in[0], l->in[1], l->out, l->in[2], l->in[3], pixels, outputs, 0, 1},
        .h = (uint32_t)x.dim[1],
        .w = (uint32_t)x.dim[2],
        .c = c,
        .taps = (uint32_t)w.dim[1] | (uint32_t)w.dim[2] << 16,
        .row_h = (uint32_t)y.dim[1],
        .row_w = (uint32_t)y.dim[2],
        .step = attr[0],
        .from_y = -attr[1],
        .from_x = -attr[2],
        .ldb = depth,
        .tap_y = (uint32_t)w.dim[2] * c,
        .tap_x = c,
    };
    return at_lower_product(l, &(struct at_product_params){
                                   .kernel = "conv2d",
                                   .b_type = l->node->in[1]->dtype,
                                   .a_half = at_lower_half(l, 0),
                                   .y_half = at_lower_half(l, AT_ARITY),
                                   .r_half = at_lower_half(l, 3),
                                   .push = &push.head,
                                   .push_size = sizeof(push),
                                   .k_segments = (uint32_t)(w.dim[1] * w.dim[2]),
                                   .k_length = c,
                                   .splits = at_product_splits(pixels, outputs, depth),
                                   .act = attr[7],
                                   .a_rows = true,
                                   .b_rows = true,
                                   .a_wide = c % 4 == 0,
                                   .b_wide = c % 4 == 0,
                                   .y_wide = outputs % 4 == 0,
                                   .y_plain = true,
                               });
}

static size_t vulkan_scratch(const struct at_node *n)
{
    struct at_shape w = n->in[1]->shape;
    return at_product_scratch(at_shape_rows(n->shape), w.dim[0], w.dim[1] * w.dim[2] * w.dim[3]);
}

static size_t scratch(const struct at_node *n, int threads)
{
    struct at_shape w = n->in[1]->shape;
    return (size_t)(thread_scratch(w.dim[1] * w.dim[2], w.dim[3]) * threads);
}

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape x = n->in[0]->shape, w = n->in[1]->shape;
    const int32_t *a = n->attr.i;
    if (x.rank != 4 || w.rank != 4 || x.dim[3] != w.dim[3])
        return at_infer_fail(why, size, "x must be (N,H,W,C) and w (O,KH,KW,C)");
    if (a[0] < 1 || a[1] < 0 || a[2] < 0 || a[3] < 0 || a[4] < 0)
        return at_infer_fail(why, size, "stride or padding out of range");
    int64_t h = x.dim[1] + a[1] + a[3] - w.dim[1], v = x.dim[2] + a[2] + a[4] - w.dim[2];
    if (h < 0 || v < 0)
        return at_infer_fail(why, size, "the kernel is larger than the padded image");
    n->shape = AT_SHAPE(x.dim[0], h / a[0] + 1, v / a[0] + 1, w.dim[0]);
    if (n->in[2] && at_shape_count(n->in[2]->shape) != w.dim[0])
        return at_infer_fail(why, size, "the bias does not have %lld elements", (long long)w.dim[0]);
    if (n->in[3] && !at_shape_equal(n->in[3]->shape, n->shape))
        return at_infer_fail(why, size, "the residual has another shape");
    return true;
}

static void backward(struct at_backward *b)
{
    const struct at_node *n = b->node;
    if (b->need[0])
        b->dx[0] = at_conv2d_dx(b->g, b->dy, b->in[1], n->in[0]->shape, &n->attr);
    if (b->need[1])
        b->dx[1] = at_conv2d_dw(b->g, b->dy, b->in[0], n->in[1]->shape, &n->attr);
}

static struct at_cost cost(const struct at_node *n)
{
    struct at_shape w = n->in[1]->shape;
    double depth = (double)(w.dim[1] * w.dim[2] * w.dim[3]);
    return (struct at_cost){2 * depth * (double)at_shape_count(n->shape), at_cost_bytes(n)};
}

// Patches (pixels, taps C) times w^T.
static bool product(const struct at_node *n, struct at_product_shape *p)
{
    struct at_shape w = n->in[1]->shape;
    *p = (struct at_product_shape){.tb = true, .m = at_shape_rows(n->shape), .n = w.dim[0],
                                   .k = w.dim[1] * w.dim[2] * w.dim[3]};
    return true;
}

static const struct at_op_case cases[] = {
    {.in = {{4, {1, 1, 1, 1}}, {4, {1, 1, 1, 1}}}, .attr = {.i = {1}}},
    {.in = {{4, {2, 5, 7, 3}}, {4, {4, 3, 3, 3}}}, .attr = {.i = {1, 1, 1, 1, 1}}},
    {.in = {{4, {3, 8, 8, 20}}, {4, {33, 3, 3, 20}}}, .attr = {.i = {1, 1, 1, 1, 1}}},
    {.in = {{4, {2, 7, 9, 12}}, {4, {5, 3, 3, 12}}}, .attr = {.i = {2, 1, 1, 1, 1}}},
    {.in = {{4, {1, 8, 6, 9}}, {4, {17, 3, 3, 9}}}, .attr = {.i = {2, 0, 0, 1, 1}}}, // the autoencoder's padding
    {.in = {{4, {1, 6, 5, 16}}, {4, {8, 1, 1, 16}}}, .attr = {.i = {1}}},
    {.in = {{4, {1, 9, 9, 2}}, {4, {3, 5, 2, 2}}}, .attr = {.i = {3, 2, 0, 1, 1}}},
    // Large enough for the larger tiles of a GPU; the gradient is that of the smaller ones.
    {.in = {{4, {1, 30, 31, 16}}, {4, {1000, 3, 3, 16}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .forward_only = true},
    {.in = {{4, {2, 18, 19, 20}}, {4, {600, 1, 2, 20}}}, .attr = {.i = {1}}, .forward_only = true},
    {.in = {{4, {2, 130, 120, 4}}, {4, {3, 3, 3, 4}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .forward_only = true},
    {.in = {{4, {1, 12, 11, 36}}, {4, {20, 3, 3, 36}}}, .attr = {.i = {1, 1, 1, 1, 1}}}, // k is split on Vulkan
    {.in = {{4, {1, 13, 11, 5}}, {4, {1, 3, 3, 5}}}, .attr = {.i = {1, 1, 1, 1, 1}}},
    {.in = {{4, {2, 5, 7, 8}}, {4, {6, 3, 3, 8}}, {1, {6}}, {4, {2, 5, 7, 6}}}, .attr = {.i = {1, 1, 1, 1, 1}},
     .forward_only = true},
    {.in = {{4, {2, 5, 7, 8}}, {4, {6, 3, 3, 8}}, {1, {6}}},
     .attr = {.i = {1, 1, 1, 1, 1, 0, 0, AT_ACT_SILU}},
     .forward_only = true},
    // w of halves.
    {.in = {{4, {2, 5, 7, 3}}, {4, {4, 3, 3, 3}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .f16 = 2},
    {.in = {{4, {3, 8, 8, 20}}, {4, {33, 3, 3, 20}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .bf16 = 2},
    {.in = {{4, {2, 7, 9, 12}}, {4, {5, 3, 3, 12}}}, .attr = {.i = {2, 1, 1, 1, 1}}, .f16 = 2},
    {.in = {{4, {1, 9, 9, 4}}, {4, {3, 5, 2, 4}}}, .attr = {.i = {3, 2, 0, 1, 1}}, .bf16 = 2},
    {.in = {{4, {1, 12, 11, 64}}, {4, {20, 3, 3, 64}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .f16 = 2},
    {.in = {{4, {1, 12, 11, 36}}, {4, {20, 3, 3, 36}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .bf16 = 2},
    {.in = {{4, {1, 30, 31, 16}}, {4, {1000, 3, 3, 16}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .f16 = 2,
     .forward_only = true},
    {.in = {{4, {2, 5, 7, 8}}, {4, {6, 3, 3, 8}}, {1, {6}}}, .attr = {.i = {1, 1, 1, 1, 1, 0, 0, AT_ACT_SILU}},
     .bf16 = 2, .forward_only = true},
    // Activations of halves.
    {.in = {{4, {3, 8, 8, 20}}, {4, {33, 3, 3, 20}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .halves = 1},
    {.in = {{4, {2, 7, 9, 12}}, {4, {8, 3, 3, 12}}}, .attr = {.i = {2, 1, 1, 1, 1}}, .halves = 1 | AT_HALVES_Y, .tolerance = AT_HALVES_ERROR},
    {.in = {{4, {1, 12, 11, 64}}, {4, {20, 3, 3, 64}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .f16 = 2, .halves = 1 | AT_HALVES_Y,
     .tolerance = AT_HALVES_ERROR},
    {.in = {{4, {1, 30, 31, 16}}, {4, {1000, 3, 3, 16}}}, .attr = {.i = {1, 1, 1, 1, 1}}, .halves = 1 | AT_HALVES_Y,
     .forward_only = true, .tolerance = AT_HALVES_ERROR},
    {.in = {{4, {2, 5, 7, 8}}, {4, {8, 3, 3, 8}}, {1, {8}}, {4, {2, 5, 7, 8}}}, .attr = {.i = {1, 1, 1, 1, 1}},
     .halves = 9 | AT_HALVES_Y, .forward_only = true, .tolerance = AT_HALVES_ERROR},
    {.in = {{4, {2, 18, 19, 64}}, {4, {32, 1, 1, 64}}, {1, {32}}}, .attr = {.i = {1, 0, 0, 0, 0, 0, 0, AT_ACT_SILU}},
     .halves = 1 | AT_HALVES_Y, .forward_only = true, .tolerance = AT_HALVES_ERROR},
};

const struct at_op at_op_conv2d = {
    .name = "conv2d",
    .id = AT_ID_conv2d,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    .product = product,
    AT_CASES(cases),
    .inplace = 1u << 3,
    .half = 1u << 1,
    .halves = 1u << 0 | 1u << 3 | AT_HALVES_Y,
    .takes = 1u << AT_EPILOGUE_BIAS | 1u << AT_EPILOGUE_ACT | 1u << AT_EPILOGUE_RESIDUAL,
};

struct at_node *at_conv2d(struct at_graph *g, struct at_node *x, struct at_node *w, const struct at_conv_params *p)
{
    struct at_attr attr = {.i = {p->stride ? p->stride : 1, p->top, p->left, p->bottom, p->right}};
    return at_graph_append(g, &at_op_conv2d, (struct at_node *[]){x, w}, 2, &attr, NULL);
}

#endif
