// SPDX-License-Identifier: Apache-2.0
// Multi-head attention, softmax(scale q k^T) v per head. in: q (N,Lq,D), k (N,Lk,D), v (N,Lk,D) -> (N,Lq,D).
// attr: i[0] heads, i[1] causal, f[0] scale.
#include "core/ops/build.h"
#include "core/ops/op.h"

// The scores that a thread holds at once: they stay in its L2 cache.
#define QUERIES 240
#define KEYS 512

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// Some queries of a head, as they meet one block of keys after the other (Milakov & Gimelshein 2018; Dao et al. 2022).
struct rows {
    int64_t first, count; // queries
    real top[QUERIES], sum[QUERIES]; // the largest score so far, and the sum of exp(score - top)
};

// Scores s (rows, keys) become exp(s - top); what was summed into y (row stride `width`, d columns) follows a new top.
// Row i sees the first `seen` + i of these keys; `fresh`: the first block of keys.
static void weigh(struct rows *r, real *s, int64_t keys, int64_t seen, bool fresh, real *y, int64_t width, int64_t d)
{
    for (int64_t i = 0; i < r->count; i++, s += keys, y += width) {
        int64_t n = seen + i < keys ? seen + i : keys;
        if (n <= 0) {
            memset(s, 0, (size_t)keys * sizeof(*s));
            continue;
        }
        real top = fresh ? s[0] : r->top[i], sum = 0;
#pragma omp simd reduction(max : top)
        for (int64_t j = 0; j < n; j++)
            top = s[j] > top ? s[j] : top;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < n; j++) {
            s[j] = real_exp(s[j] - top);
            sum += s[j];
        }
        memset(s + n, 0, (size_t)(keys - n) * sizeof(*s));
        if (!fresh && top > r->top[i]) {
            real shrink = real_exp(r->top[i] - top);
            r->sum[i] *= shrink;
            for (int64_t j = 0; j < d; j++)
                y[j] *= shrink;
        }
        r->sum[i] = fresh ? sum : r->sum[i] + sum;
        r->top[i] = top;
    }
}

// A unit of work is one block of queries of one head of one sample.
AT_HOST(attention)
{
    const struct at_node *node = k->node;
    struct at_shape q = node->in[0]->shape, kv = node->in[1]->shape;
    int64_t lq = q.dim[1], lk = kv.dim[1], width = q.dim[2], heads = node->attr.i[0], d = width / heads;
    int64_t blocks = (lq + QUERIES - 1) / QUERIES, parts = (lk + KEYS - 1) / KEYS;
    bool causal = node->attr.i[1];
    int64_t most_q = lq < QUERIES ? lq : QUERIES, most_k = lk < KEYS ? lk : KEYS;
    real *scores = (real *)k->scratch + k->thread * most_q * most_k;
    struct at_share s = at_share_of(k, q.dim[0] * heads * blocks);
    struct rows r;
    for (int64_t unit = s.begin; unit < s.end; unit++) {
        int64_t block = unit % blocks, head = unit / blocks % heads, n = unit / (blocks * heads);
        r.first = lq * block / blocks;
        r.count = lq * (block + 1) / blocks - r.first;
        int64_t at = (n * lq + r.first) * width + head * d;
        real *y = (real *)k->out + at;
        for (int64_t part = 0; part < parts; part++) {
            int64_t begin = lk * part / parts, keys = lk * (part + 1) / parts - begin;
            int64_t from = (n * lk + begin) * width + head * d, seen = causal ? r.first + 1 - begin : keys;
            if (seen + r.count <= 1)
                break;
            real_gemm(false, true, r.count, keys, d, (real)node->attr.f[0], (const real *)k->in[0] + at, width,
                      (const real *)k->in[1] + from, width, false, scores, keys);
            weigh(&r, scores, keys, seen, part == 0, y, width, d);
            real_gemm(false, false, r.count, d, keys, 1, scores, keys, (const real *)k->in[2] + from, width, part > 0,
                      y, width);
        }
        for (int64_t i = 0; i < r.count; i++)
            for (int64_t j = 0; j < d; j++)
                y[i * width + j] /= r.sum[i];
    }
}

#else
#include "core/ops/scores.h"

static size_t vulkan_scratch(const struct at_node *n)
{
    return at_scores_bytes(n, 1);
}

static bool lower(struct at_lower *l)
{
    struct at_scores p = {0};
    bool ok = true;
    for (bool more = false; ok && at_scores_next(&p, l->node, 1); more = true) {
        if (more)
            at_lower_barrier(l);
        ok = at_lower_scores(l, &p, AT_SCORES_QK, l->scratch, l->in[0], l->in[1], l->node->attr.f[0]);
        at_lower_barrier(l);
        ok = ok && at_lower_softmax(l, &p, l->scratch);
        at_lower_barrier(l);
        ok = ok && at_lower_scores(l, &p, AT_SCORES_SK, l->scratch, l->out, l->in[2], 1);
    }
    return ok;
}

static size_t scratch(const struct at_node *n, int threads)
{
    int64_t lq = n->in[0]->shape.dim[1], lk = n->in[1]->shape.dim[1];
    return (size_t)((lq < QUERIES ? lq : QUERIES) * (lk < KEYS ? lk : KEYS) * threads);
}

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape q = n->in[0]->shape, k = n->in[1]->shape;
    if (q.rank != 3 || k.rank != 3 || q.dim[0] != k.dim[0] || q.dim[2] != k.dim[2] ||
        !at_shape_equal(k, n->in[2]->shape))
        return at_infer_fail(why, size, "q must be (N,Lq,D), k and v (N,Lk,D)");
    if (n->attr.i[0] < 1 || q.dim[2] % n->attr.i[0])
        return at_infer_fail(why, size, "%d heads do not divide the width", n->attr.i[0]);
    n->shape = q;
    return true;
}

static void backward(struct at_backward *b)
{
    struct at_node *packed = at_attention_bwd(b->g, b->in[0], b->in[1], b->in[2], b->y, b->dy, &b->node->attr);
    int64_t offset = 0;
    for (int i = 0; i < 3; i++) {
        struct at_shape s = b->node->in[i]->shape;
        if (b->need[i])
            b->dx[i] = at_view(b->g, packed, offset, s);
        offset += at_shape_count(s);
    }
}

static struct at_cost cost(const struct at_node *n)
{
    struct at_shape q = n->in[0]->shape;
    double scores = (double)(q.dim[0] * q.dim[1] * n->in[1]->shape.dim[1]);
    return (struct at_cost){scores * (4.0 * (double)q.dim[2] + 5.0 * n->attr.i[0]), at_cost_bytes(n)};
}

static const struct at_op_case cases[] = {
    {.in = {{3, {1, 1, 1}}, {3, {1, 1, 1}}, {3, {1, 1, 1}}}, .attr = {.i = {1, 0}, .f = {1}}},
    {.in = {{3, {2, 7, 12}}, {3, {2, 5, 12}}, {3, {2, 5, 12}}}, .attr = {.i = {3, 0}, .f = {0.5f}}, .low = -2, .high = 2},
    {.in = {{3, {2, 9, 16}}, {3, {2, 9, 16}}, {3, {2, 9, 16}}}, .attr = {.i = {4, 1}, .f = {0.5f}}, .low = -2, .high = 2},
    {.in = {{3, {1, 131, 8}}, {3, {1, 131, 8}}, {3, {1, 131, 8}}}, .attr = {.i = {1, 1}, .f = {0.3f}}},
    {.in = {{3, {3, 65, 40}}, {3, {3, 77, 40}}, {3, {3, 77, 40}}}, .attr = {.i = {2, 0}, .f = {0.22f}}, .low = -3, .high = 3},
    {.in = {{3, {1, 70, 132}}, {3, {1, 35, 132}}, {3, {1, 35, 132}}}, .attr = {.i = {1, 0}, .f = {0.1f}}},
    // Several blocks of queries and of keys; a causal row that sees none of a block.
    {.in = {{3, {1, 500, 8}}, {3, {1, 1100, 8}}, {3, {1, 1100, 8}}}, .attr = {.i = {2, 0}, .f = {2}}, .low = -2, .high = 2},
    {.in = {{3, {1, 1030, 4}}, {3, {1, 1030, 4}}, {3, {1, 1030, 4}}}, .attr = {.i = {1, 1}, .f = {2}}, .low = -2, .high = 2},
    {.in = {{3, {1, 17, 80}}, {3, {1, 17, 80}}, {3, {1, 17, 80}}}, .attr = {.i = {1, 0}, .f = {0.11f}}},
};

const struct at_op at_op_attention = {
    .name = "attention",
    .id = AT_ID_attention,
    .required = 3,
    .infer = infer,
    .backward = backward,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_attention(struct at_graph *g, struct at_node *q, struct at_node *k, struct at_node *v,
                             const struct at_attention_params *p)
{
    if (!q || !k || !v)
        return NULL;
    if (p->heads < 1)
        return at_graph_fail(g, "attention: %d heads", p->heads);
    double d = (double)at_shape_last(q->shape) / p->heads;
    struct at_attr attr = {.i = {p->heads, p->causal}, .f = {p->scale != 0 ? p->scale : (float)(1 / __builtin_sqrt(d))}};
    return at_graph_append(g, &at_op_attention, (struct at_node *[]){q, k, v}, 3, &attr, NULL);
}

#endif
