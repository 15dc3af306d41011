// SPDX-License-Identifier: Apache-2.0
// Matrix product: y = act(alpha op(a) op(b) + bias) + residual. in: a, b, bias (n), residual (y's shape).
// attr: i[0] ta, i[1] tb, f[0] alpha, i[7] activation. b may be of halves.
#include "core/cpu/product.h"

#ifdef AT_KERNEL
#include "core/cpu/half.h"

#define BLOCK_ROWS 512 // the epilogue follows while a block is in cache

AT_HOST(matmul)
{
    const struct at_node *node = k->node;
    bool ta = node->attr.i[0], tb = node->attr.i[1];
    struct at_shape a = node->in[0]->shape, b = node->in[1]->shape;
    int64_t lda = at_shape_last(a), ldb = at_shape_last(b);
    int64_t m = ta ? lda : at_shape_rows(a), depth = ta ? at_shape_rows(a) : lda, n = tb ? at_shape_rows(b) : ldb;
    struct at_share rows = {0, m}, cols = {0, n};
    if (m >= n)
        rows = at_share_grain(k, m, 16);
    else
        cols = at_share_grain(k, n, 16);
    int64_t width = cols.end - cols.begin;
    if (width <= 0)
        return;
    enum at_dtype type = node->in[1]->dtype;
    const void *pb = at_element(k->in[1], type, tb ? cols.begin * ldb : cols.begin);
    for (int64_t row = rows.begin; row < rows.end; row += BLOCK_ROWS) {
        int64_t count = rows.end - row < BLOCK_ROWS ? rows.end - row : BLOCK_ROWS;
        const real *pa = (const real *)k->in[0] + (ta ? row : row * lda);
        bool add = at_epilogue_begin(k, row, count, cols.begin, width, n);
        mixed_gemm(ta, tb, count, width, depth, (real)node->attr.f[0], pa, lda, pb, type, ldb, add,
                   (real *)k->out + row * n + cols.begin, n);
        at_epilogue_end(k, row, count, cols.begin, width, n);
    }
}

#else
#include "core/ops/product.h"

struct sizes {
    int64_t m, n, k, lda, ldb;
};

static struct sizes sizes_of(const struct at_node *n)
{
    bool ta = n->attr.i[0], tb = n->attr.i[1];
    struct at_shape a = n->in[0]->shape, b = n->in[1]->shape;
    struct sizes s = {.lda = at_shape_last(a), .ldb = at_shape_last(b)};
    s.m = ta ? s.lda : at_shape_rows(a);
    s.k = ta ? at_shape_rows(a) : s.lda;
    s.n = tb ? at_shape_rows(b) : s.ldb;
    return s;
}

static size_t vulkan_scratch(const struct at_node *n)
{
    struct sizes s = sizes_of(n);
    return at_product_scratch(s.m, s.n, s.k);
}

static bool lower(struct at_lower *l)
{
    struct sizes s = sizes_of(l->node);
    return at_lower_matmul(l, &(struct at_product_matmul){
                                  .a = l->in[0],
                                  .b = l->in[1],
                                  .y = l->out,
                                  .bias = l->in[2],
                                  .residual = l->in[3],
                                  .m = (uint32_t)s.m,
                                  .n = (uint32_t)s.n,
                                  .k = (uint32_t)s.k,
                                  .ta = l->node->attr.i[0],
                                  .tb = l->node->attr.i[1],
                                  .b_type = l->node->in[1]->dtype,
                                  .lda = (uint32_t)s.lda,
                                  .ldb = (uint32_t)s.ldb,
                                  .ldy = (uint32_t)s.n,
                                  .alpha = l->node->attr.f[0],
                                  .act = l->node->attr.i[7],
                                  .splits = at_product_splits(s.m, s.n, s.k),
                              });
}

static bool infer(struct at_node *n, char *why, size_t size)
{
    bool ta = n->attr.i[0], tb = n->attr.i[1];
    struct at_shape a = n->in[0]->shape, b = n->in[1]->shape;
    int64_t depth_a = ta ? at_shape_rows(a) : at_shape_last(a), depth_b = tb ? at_shape_last(b) : at_shape_rows(b);
    if (depth_a != depth_b)
        return at_infer_fail(why, size, "inner sizes %lld and %lld differ", (long long)depth_a, (long long)depth_b);
    int64_t cols = tb ? at_shape_rows(b) : at_shape_last(b);
    n->shape = ta ? AT_SHAPE(at_shape_last(a), cols) : a;
    n->shape.dim[n->shape.rank - 1] = cols;
    if (n->in[2] && at_shape_count(n->in[2]->shape) != cols)
        return at_infer_fail(why, size, "the bias does not have %lld elements", (long long)cols);
    if (n->in[3] && at_shape_count(n->in[3]->shape) != at_shape_count(n->shape))
        return at_infer_fail(why, size, "the residual has another size");
    return true;
}

static void backward(struct at_backward *b)
{
    const struct at_attr *at = &b->node->attr;
    bool ta = at->i[0], tb = at->i[1];
    float alpha = at->f[0];
    struct at_node *dx;
    if (b->need[0]) {
        if (!ta)
            dx = at_matmul(b->g, b->dy, b->in[1], &(struct at_matmul_params){.tb = !tb, .alpha = alpha});
        else
            dx = at_matmul(b->g, b->in[1], b->dy, &(struct at_matmul_params){.ta = tb, .tb = true, .alpha = alpha});
        b->dx[0] = at_view(b->g, dx, 0, b->node->in[0]->shape);
    }
    if (b->need[1]) {
        if (!tb)
            dx = at_matmul(b->g, b->in[0], b->dy, &(struct at_matmul_params){.ta = !ta, .alpha = alpha});
        else
            dx = at_matmul(b->g, b->dy, b->in[0], &(struct at_matmul_params){.ta = true, .tb = ta, .alpha = alpha});
        b->dx[1] = at_view(b->g, dx, 0, b->node->in[1]->shape);
    }
}

static struct at_cost cost(const struct at_node *n)
{
    struct at_shape a = n->in[0]->shape;
    double depth = (double)(n->attr.i[0] ? at_shape_rows(a) : at_shape_last(a));
    return (struct at_cost){2 * depth * (double)at_shape_count(n->shape), at_cost_bytes(n)};
}

static bool product(const struct at_node *n, struct at_product_shape *p)
{
    struct at_shape a = n->in[0]->shape;
    bool ta = n->attr.i[0] != 0;
    *p = (struct at_product_shape){ta, n->attr.i[1] != 0, at_shape_rows(n->shape), at_shape_last(n->shape),
                                   ta ? at_shape_rows(a) : at_shape_last(a)};
    return true;
}

static const struct at_op_case cases[] = {
    {.in = {{2, {1, 1}}, {2, {1, 1}}}, .attr = {.f = {1}}},
    {.in = {{2, {7, 33}}, {2, {33, 5}}}, .attr = {.f = {1}}},
    {.in = {{3, {2, 65, 40}}, {2, {127, 40}}}, .attr = {.i = {0, 1}, .f = {1}}},
    {.in = {{4, {2, 3, 5, 24}}, {2, {17, 24}}}, .attr = {.i = {0, 1}, .f = {0.25f}}},
    {.in = {{2, {205, 19}}, {2, {205, 31}}}, .attr = {.i = {1, 0}, .f = {1}}},
    {.in = {{2, {9, 130}}, {2, {12, 9}}}, .attr = {.i = {1, 1}, .f = {2}}},
    {.in = {{2, {130, 70}}, {2, {70, 40}}}, .attr = {.f = {1}}},                     // past the tiles of every kernel
    {.in = {{2, {67, 1}}, {2, {1, 129}}}, .attr = {.f = {-1}}},                      // an outer product
    {.in = {{2, {129, 31}}, {2, {1, 31}}}, .attr = {.i = {0, 1}, .f = {1}}},         // one column
    {.in = {{2, {1, 36}}, {2, {36, 132}}}, .attr = {.f = {1}}},                      // one row
    {.in = {{2, {1037, 12}}, {2, {1037, 20}}}, .attr = {.i = {1, 0}, .f = {0.5f}}}, // k is split on Vulkan
    {.in = {{2, {5, 600}}, {2, {6, 600}}, {1, {6}}}, .attr = {.i = {0, 1, 0, 0, 0, 0, 0, AT_ACT_SILU}, .f = {0.1f}},
     .forward_only = true},
    {.in = {{2, {5, 600}}, {2, {6, 600}}, {1, {6}}, {2, {5, 6}}}, .attr = {.i = {0, 1}, .f = {0.1f}},
     .forward_only = true},
    // Large enough for the larger tiles of a GPU; the gradient is that of the smaller ones.
    {.in = {{2, {900, 36}}, {2, {1000, 36}}}, .attr = {.i = {0, 1}, .f = {1}}, .forward_only = true},
    {.in = {{2, {33, 901}}, {2, {33, 999}}}, .attr = {.i = {1, 0}, .f = {1}}, .forward_only = true},
    {.in = {{2, {620, 32}}, {2, {32, 630}}}, .attr = {.f = {1}}, .forward_only = true},
    {.in = {{2, {30001, 8}}, {2, {4, 8}}}, .attr = {.i = {0, 1}, .f = {1}}, .forward_only = true},
    {.in = {{2, {3, 12}}, {2, {12, 30004}}}, .attr = {.f = {1}}, .forward_only = true},
    // Four at a time, past the tiles, in every layout.
    {.in = {{2, {37, 20}}, {2, {20, 76}}}, .attr = {.f = {1}}},
    {.in = {{2, {20, 68}}, {2, {20, 76}}}, .attr = {.i = {1, 0}, .f = {1}}},
    {.in = {{2, {20, 68}}, {2, {77, 20}}}, .attr = {.i = {1, 1}, .f = {1}}},
    {.in = {{2, {1040, 64}}, {2, {72, 64}}}, .attr = {.i = {0, 1}, .f = {1}}},
    {.in = {{2, {70, 64}}, {2, {72, 64}}, {1, {72}}, {2, {70, 72}}}, .attr = {.i = {0, 1}, .f = {1}},
     .forward_only = true},
    {.in = {{2, {3, 64}}, {2, {72, 64}}, {1, {72}}}, .attr = {.i = {0, 1, 0, 0, 0, 0, 0, AT_ACT_SILU}, .f = {1}},
     .forward_only = true},
    {.in = {{2, {3, 64}}, {2, {64, 5}}, {1, {5}}}, .attr = {.i = {0, 0, 0, 0, 0, 0, 0, AT_ACT_GELU}, .f = {1}},
     .forward_only = true},
    {.in = {{2, {3, 64}}, {2, {64, 5}}, {0}}, .attr = {.i = {0, 0, 0, 0, 0, 0, 0, AT_ACT_QUICK_GELU}, .f = {1}},
     .forward_only = true},
    // b of halves, in every layout and kernel. Its product with a transposed a has no gradient.
    {.in = {{2, {7, 33}}, {2, {33, 5}}}, .attr = {.f = {1}}, .f16 = 2},
    {.in = {{3, {2, 65, 40}}, {2, {127, 40}}}, .attr = {.i = {0, 1}, .f = {1}}, .bf16 = 2},
    {.in = {{4, {2, 3, 5, 21}}, {2, {17, 21}}}, .attr = {.i = {0, 1}, .f = {0.25f}}, .f16 = 2},
    {.in = {{2, {205, 19}}, {2, {205, 31}}}, .attr = {.i = {1, 0}, .f = {1}}, .f16 = 2, .forward_only = true},
    {.in = {{2, {9, 130}}, {2, {12, 9}}}, .attr = {.i = {1, 1}, .f = {2}}, .bf16 = 2, .forward_only = true},
    {.in = {{2, {20, 68}}, {2, {20, 76}}}, .attr = {.i = {1, 0}, .f = {1}}, .bf16 = 2, .forward_only = true},
    {.in = {{2, {37, 20}}, {2, {20, 76}}}, .attr = {.f = {1}}, .f16 = 2},
    {.in = {{2, {1040, 64}}, {2, {72, 64}}}, .attr = {.i = {0, 1}, .f = {1}}, .f16 = 2},
    {.in = {{2, {70, 64}}, {2, {72, 64}}}, .attr = {.i = {0, 1}, .f = {1}}, .bf16 = 2},
    {.in = {{2, {70, 64}}, {2, {64, 72}}}, .attr = {.f = {1}}, .bf16 = 2},
    {.in = {{2, {5, 600}}, {2, {6, 600}}, {1, {6}}, {2, {5, 6}}}, .attr = {.i = {0, 1}, .f = {0.1f}}, .f16 = 2,
     .forward_only = true},
    {.in = {{2, {900, 36}}, {2, {1000, 36}}}, .attr = {.i = {0, 1}, .f = {1}}, .f16 = 2, .forward_only = true},
    {.in = {{2, {620, 32}}, {2, {32, 630}}}, .attr = {.f = {1}}, .bf16 = 2, .forward_only = true},
    // Subnormal f16.
    {.in = {{2, {70, 64}}, {2, {72, 64}}}, .attr = {.i = {0, 1}, .f = {1}}, .f16 = 2, .low = -5e-5f, .high = 5e-5f},
    {.in = {{2, {7, 33}}, {2, {33, 5}}}, .attr = {.f = {1}}, .f16 = 2, .low = -5e-5f, .high = 5e-5f},
};

const struct at_op at_op_matmul = {
    .name = "matmul",
    .id = AT_ID_matmul,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    .product = product,
    AT_CASES(cases),
    .inplace = 1u << 3,
    .half = 1u << 1,
    .takes = 1u << AT_EPILOGUE_BIAS | 1u << AT_EPILOGUE_ACT | 1u << AT_EPILOGUE_RESIDUAL,
};

struct at_node *at_matmul(struct at_graph *g, struct at_node *a, struct at_node *b, const struct at_matmul_params *p)
{
    struct at_attr attr = {.i = {p->ta, p->tb}, .f = {p->alpha != 0 ? p->alpha : 1.0f}};
    return at_graph_append(g, &at_op_matmul, (struct at_node *[]){a, b}, 2, &attr, NULL);
}

#endif
