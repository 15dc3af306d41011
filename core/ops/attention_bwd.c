// SPDX-License-Identifier: Apache-2.0
// Adjoint of attention: [dq | dk | dv] in one vector. in: q, k, v, y (the output), dy. attr as attention.
// With p = softmax(s): dv = p^T dy, dp = dy v^T, ds = p (dp - sum_j dy_j y_j), dq = scale ds k, dk = scale ds^T q.
#include "core/ops/build.h"
#include "core/ops/op.h"

#define QUERIES 128

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

struct head {
    const real *q, *k, *v, *y, *dy;
    real *dq, *dk, *dv;
    int64_t lq, lk, d, width;
    real scale;
    bool causal;
};

// Scores of queries [first, first + rows) as probabilities into p.
static void probabilities(const struct head *h, int64_t first, int64_t rows, real *p)
{
    real_gemm(false, true, rows, h->lk, h->d, h->scale, h->q + first * h->width, h->width, h->k, h->width, 0, p, h->lk);
    for (int64_t i = 0; i < rows; i++, p += h->lk) {
        int64_t seen = h->causal && first + i + 1 < h->lk ? first + i + 1 : h->lk;
        real top = p[0], sum = 0;
#pragma omp simd reduction(max : top)
        for (int64_t j = 1; j < seen; j++)
            top = p[j] > top ? p[j] : top;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < seen; j++) {
            p[j] = real_exp(p[j] - top);
            sum += p[j];
        }
        real inverse = 1 / sum;
        for (int64_t j = 0; j < seen; j++)
            p[j] *= inverse;
        for (int64_t j = seen; j < h->lk; j++)
            p[j] = 0;
    }
}

static void head_backward(const struct head *h, real *p, real *dp)
{
    for (int64_t first = 0; first < h->lq; first += QUERIES) {
        int64_t rows = h->lq - first < QUERIES ? h->lq - first : QUERIES, w = h->width;
        const real *dy = h->dy + first * w, *y = h->y + first * w;
        probabilities(h, first, rows, p);
        real_gemm(true, false, h->lk, h->d, rows, 1, p, h->lk, dy, w, first, h->dv, w);
        real_gemm(false, true, rows, h->lk, h->d, 1, dy, w, h->v, w, 0, dp, h->lk);
        for (int64_t i = 0; i < rows; i++) {
            real dot = 0;
#pragma omp simd reduction(+ : dot)
            for (int64_t j = 0; j < h->d; j++)
                dot += dy[i * w + j] * y[i * w + j];
            for (int64_t j = 0; j < h->lk; j++)
                dp[i * h->lk + j] = p[i * h->lk + j] * (dp[i * h->lk + j] - dot);
        }
        real_gemm(false, false, rows, h->d, h->lk, h->scale, dp, h->lk, h->k, w, 0, h->dq + first * w, w);
        real_gemm(true, false, h->lk, h->d, rows, h->scale, dp, h->lk, h->q + first * w, w, first, h->dk, w);
    }
}

AT_HOST(attention_bwd)
{
    const struct at_node *node = k->node;
    struct at_shape q = node->in[0]->shape, kv = node->in[1]->shape;
    int64_t heads = node->attr.i[0], width = q.dim[2], d = width / heads, lq = q.dim[1], lk = kv.dim[1];
    real *dq = k->out, *dk = dq + at_shape_count(q), *dv = dk + at_shape_count(kv);
    real *p = (real *)k->scratch + k->thread * (2 * QUERIES * lk);
    struct at_share s = at_share_of(k, q.dim[0] * heads);
    for (int64_t unit = s.begin; unit < s.end; unit++) {
        int64_t at_q = unit / heads * lq * width + unit % heads * d, at_k = unit / heads * lk * width + unit % heads * d;
        struct head h = {(const real *)k->in[0] + at_q, (const real *)k->in[1] + at_k, (const real *)k->in[2] + at_k,
                         (const real *)k->in[3] + at_q, (const real *)k->in[4] + at_q, dq + at_q, dk + at_k, dv + at_k,
                         lq, lk, d, width, (real)node->attr.f[0], node->attr.i[1]};
        head_backward(&h, p, p + QUERIES * lk);
    }
}

#else
#include "core/ops/scores.h"

static size_t vulkan_scratch(const struct at_node *n)
{
    return at_scores_bytes(n, 2);
}

static bool lower(struct at_lower *l)
{
    const struct at_node *n = l->node;
    uint64_t q = l->in[0], k = l->in[1], v = l->in[2], y = l->in[3], dy = l->in[4];
    uint64_t dq = l->out, dk = dq + 4 * (uint64_t)at_shape_count(n->in[0]->shape);
    uint64_t dv = dk + 4 * (uint64_t)at_shape_count(n->in[1]->shape), p = l->scratch, dp = p + at_scores_bytes(n, 2) / 2;
    struct at_scores part = {0};
    float scale = n->attr.f[0];
    bool ok = true;
    for (bool more = false; ok && at_scores_next(&part, n, 2); more = true) {
        if (more)
            at_lower_barrier(l);
        ok = at_lower_scores(l, &part, AT_SCORES_QK, p, q, k, scale) &&
             at_lower_scores(l, &part, AT_SCORES_QK, dp, dy, v, 1);
        at_lower_barrier(l);
        ok = ok && at_lower_softmax(l, &part, p);
        at_lower_barrier(l);
        ok = ok && at_lower_scores(l, &part, AT_SCORES_SQ, p, dy, dv, 1) &&
             at_lower_softmax_bwd(l, &part, p, dp, y, dy);
        at_lower_barrier(l);
        ok = ok && at_lower_scores(l, &part, AT_SCORES_SK, dp, dq, k, scale) &&
             at_lower_scores(l, &part, AT_SCORES_SQ, dp, q, dk, scale);
    }
    return ok;
}

static size_t scratch(const struct at_node *n, int threads)
{
    return (size_t)(2 * QUERIES * n->in[1]->shape.dim[1] * threads);
}

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape q = n->in[0]->shape, k = n->in[1]->shape;
    if (!n->in[3] || !n->in[4] || q.rank != 3 || k.rank != 3 || q.dim[0] != k.dim[0] || q.dim[2] != k.dim[2] ||
        !at_shape_equal(k, n->in[2]->shape) || !at_shape_equal(q, n->in[3]->shape) ||
        !at_shape_equal(q, n->in[4]->shape))
        return at_infer_fail(why, size, "q, y, dy must be (N,Lq,D), k and v (N,Lk,D)");
    if (n->attr.i[0] < 1 || q.dim[2] % n->attr.i[0])
        return at_infer_fail(why, size, "%d heads do not divide the width", n->attr.i[0]);
    n->shape = AT_SHAPE(at_shape_count(q) + 2 * at_shape_count(k));
    return true;
}

static struct at_cost cost(const struct at_node *n)
{
    struct at_shape q = n->in[0]->shape;
    double scores = (double)(q.dim[0] * q.dim[1] * n->in[1]->shape.dim[1]);
    return (struct at_cost){scores * (10.0 * (double)q.dim[2] + 8.0 * n->attr.i[0]), at_cost_bytes(n)};
}

static const struct at_op_case cases[] = {
    {.in = {{3, {2, 7, 12}}, {3, {2, 5, 12}}, {3, {2, 5, 12}}, {3, {2, 7, 12}}, {3, {2, 7, 12}}},
     .attr = {.i = {3, 0}, .f = {0.5f}}},
    {.in = {{3, {1, 131, 8}}, {3, {1, 131, 8}}, {3, {1, 131, 8}}, {3, {1, 131, 8}}, {3, {1, 131, 8}}},
     .attr = {.i = {2, 1}, .f = {0.3f}}},
    {.in = {{3, {2, 3, 9}}, {3, {2, 130, 9}}, {3, {2, 130, 9}}, {3, {2, 3, 9}}, {3, {2, 3, 9}}},
     .attr = {.i = {1, 0}, .f = {0.3f}}},
    {.in = {{3, {3, 65, 40}}, {3, {3, 77, 40}}, {3, {3, 77, 40}}, {3, {3, 65, 40}}, {3, {3, 65, 40}}},
     .attr = {.i = {2, 0}, .f = {0.22f}}},
};

const struct at_op at_op_attention_bwd = {
    .name = "attention_bwd",
    .id = AT_ID_attention_bwd,
    .required = 5,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_attention_bwd(struct at_graph *g, struct at_node *q, struct at_node *k, struct at_node *v,
                                 struct at_node *y, struct at_node *dy, const struct at_attr *attention)
{
    return at_graph_append(g, &at_op_attention_bwd, (struct at_node *[]){q, k, v, y, dy}, 5, attention, NULL);
}

#endif
