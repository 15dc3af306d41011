// SPDX-License-Identifier: Apache-2.0
// Multi-head attention, softmax(scale q k^T) v per head. in: q (N,Lq,D), k (N,Lk,D), v (N,Lk,D) -> (N,Lq,D).
// attr: i[0] heads, i[1] causal, f[0] scale.
#include "core/ops/attention.h"

// Of one thread, in reals: a block of keys, scores and turned values of it; queries and outputs.
static int64_t thread_scratch(const struct at_node *n)
{
    int64_t d = n->in[0]->shape.dim[2] / n->attr.i[0];
    return AT_KEYS * (AT_QUERIES + 2 * d) + AT_STRIPS * 2 * d * AT_QUERIES;
}

#ifdef AT_KERNEL

// A strip of queries, as it meets one block of keys after the other (Milakov & Gimelshein 2018; Dao et al. 2022).
struct strip {
    real top[AT_QUERIES], sum[AT_QUERIES]; // the largest score so far, and the sum of exp(score - top)
    real *q, *y;                           // (d, AT_QUERIES)
};

struct head {
    const real *q, *k, *v;
    real *y;
    int64_t lq, lk, d, width;
    real scale;
    bool causal;
};

// Key block b, its keys (AT_KEYS, d) and its values turned (d, AT_KEYS), for one strip; s holds its scores.
static void attend(const struct head *h, const struct at_scores_block *b, const real *keys, const real *values,
                   struct strip *strip, real *s)
{
    real shrink[AT_QUERIES];
    int64_t w = AT_ATTENTION_PAD(b->count);
    near_gemm(b->keys, w, h->d, keys, h->d, strip->q, AT_QUERIES, false, s, AT_QUERIES);
    at_scores_weigh(b, s, b->begin == 0, strip->top, strip->sum, shrink);
    for (int64_t j = 0; b->begin && j < h->d; j++)
#pragma omp simd
        for (int64_t i = 0; i < w; i++)
            strip->y[j * AT_QUERIES + i] *= shrink[i];
    near_gemm(h->d, w, b->keys, values, AT_KEYS, s, AT_QUERIES, b->begin > 0, strip->y, AT_QUERIES);
}

// y of queries [first, last).
static void attend_queries(const struct head *h, int64_t first, int64_t last, real *scratch)
{
    struct strip strips[AT_STRIPS];
    int64_t size = h->d * AT_QUERIES, count = (last - first + AT_QUERIES - 1) / AT_QUERIES;
    real *s = scratch, *keys = s + AT_KEYS * AT_QUERIES, *values = keys + h->d * AT_KEYS;
    for (int64_t i = 0; i < count; i++) {
        int64_t at = first + i * AT_QUERIES, n = last - at < AT_QUERIES ? last - at : AT_QUERIES;
        strips[i].q = values + h->d * AT_KEYS + 2 * i * size;
        strips[i].y = strips[i].q + size;
        at_queries_turn(n, h->d, h->scale, h->q + at * h->width, h->width, strips[i].q);
    }
    int64_t parts = (h->lk + AT_KEYS - 1) / AT_KEYS;
    for (int64_t part = 0; part < parts; part++) {
        struct at_scores_block b = {.begin = h->lk * part / parts, .causal = h->causal};
        b.keys = h->lk * (part + 1) / parts - b.begin;
        // Side by side: in a tensor the rows of a head lie far apart.
        for (int64_t j = 0; j < b.keys; j++)
            memcpy(keys + j * h->d, h->k + (b.begin + j) * h->width, (size_t)h->d * sizeof(*keys));
        real_turn(b.keys, h->d, 1, h->v + b.begin * h->width, h->width, values, AT_KEYS);
        for (int64_t i = 0; i < count; i++) {
            b.first = first + i * AT_QUERIES;
            b.count = last - b.first < AT_QUERIES ? last - b.first : AT_QUERIES;
            if (!at_scores_unseen(&b))
                attend(h, &b, keys, values, &strips[i], s);
        }
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t at = first + i * AT_QUERIES, n = last - at < AT_QUERIES ? last - at : AT_QUERIES;
        for (int64_t j = 0; j < h->d; j++)
#pragma omp simd
            for (int64_t l = 0; l < AT_ATTENTION_PAD(n); l++)
                strips[i].y[j * AT_QUERIES + l] /= strips[i].sum[l];
        real_turn(h->d, n, 1, strips[i].y, AT_QUERIES, h->y + at * h->width, h->width);
    }
}

// A unit of work is one block of queries of one head of one sample.
AT_HOST(attention)
{
    const struct at_node *node = k->node;
    struct at_shape q = node->in[0]->shape, kv = node->in[1]->shape;
    int64_t lq = q.dim[1], lk = kv.dim[1], width = q.dim[2], heads = node->attr.i[0], d = width / heads;
    int64_t most = AT_STRIPS * AT_QUERIES, blocks = (lq + most - 1) / most;
    real *scratch = (real *)k->scratch + k->thread * (int64_t)thread_scratch(node);
    struct at_share s = at_share_of(k, q.dim[0] * heads * blocks);
    for (int64_t unit = s.begin; unit < s.end; unit++) {
        int64_t block = unit % blocks, head = unit / blocks % heads, n = unit / (blocks * heads);
        int64_t at_q = n * lq * width + head * d, at_k = n * lk * width + head * d;
        struct head h = {(const real *)k->in[0] + at_q, (const real *)k->in[1] + at_k, (const real *)k->in[2] + at_k,
                         (real *)k->out + at_q, lq, lk, d, width, (real)node->attr.f[0], node->attr.i[1]};
        attend_queries(&h, most * block, most * (block + 1) < lq ? most * (block + 1) : lq, scratch);
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
    struct at_scores_tensor q = at_scores_in(l, 0), k = at_scores_in(l, 1), v = at_scores_in(l, 2);
    struct at_scores_tensor y = {l->out, at_lower_half(l, AT_ARITY)};
    bool ok = true;
    for (bool more = false; ok && at_scores_next(&p, l->node, 1); more = true) {
        if (more)
            at_lower_barrier(l);
        ok = at_lower_scores(l, &p, AT_SCORES_QK, l->scratch, q, k, l->node->attr.f[0]);
        at_lower_barrier(l);
        ok = ok && at_lower_softmax(l, &p, l->scratch);
        at_lower_barrier(l);
        ok = ok && at_lower_scores(l, &p, AT_SCORES_SK, l->scratch, y, v, 1);
    }
    return ok;
}

static size_t scratch(const struct at_node *n, int threads)
{
    return (size_t)(thread_scratch(n) * threads);
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

// A head by fours.
static bool fours(const struct at_node *n)
{
    return at_shape_last(n->in[0]->shape) / n->attr.i[0] % 4 == 0;
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
    {.in = {{3, {1, 261, 40}}, {3, {1, 99, 40}}, {3, {1, 99, 40}}}, .attr = {.i = {2, 1}, .f = {0.3f}}},
    {.in = {{3, {1, 70, 17}}, {3, {1, 193, 17}}, {3, {1, 193, 17}}}, .attr = {.i = {1, 1}, .f = {0.5f}}},
    {.in = {{3, {1, 17, 80}}, {3, {1, 17, 80}}, {3, {1, 17, 80}}}, .attr = {.i = {1, 0}, .f = {0.11f}}},
    {.in = {{3, {2, 7, 24}}, {3, {2, 5, 24}}, {3, {2, 5, 24}}}, .attr = {.i = {3, 0}, .f = {0.5f}}, .low = -2, .high = 2,
     .halves = 7},
    {.in = {{3, {1, 131, 8}}, {3, {1, 131, 8}}, {3, {1, 131, 8}}}, .attr = {.i = {1, 1}, .f = {0.3f}}, .halves = 1},
    {.in = {{3, {3, 65, 40}}, {3, {3, 77, 40}}, {3, {3, 77, 40}}}, .attr = {.i = {2, 0}, .f = {0.22f}}, .low = -3, .high = 3,
     .halves = 7 | AT_HALVES_Y, .forward_only = true, .tolerance = AT_HALVES_ERROR},
    {.in = {{3, {2, 64, 128}}, {3, {2, 64, 128}}, {3, {2, 64, 128}}}, .attr = {.i = {2, 1}, .f = {0.1f}},
     .halves = 4 | AT_HALVES_Y, .forward_only = true, .tolerance = AT_HALVES_ERROR},
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
    .halves = 7 | AT_HALVES_Y,
    .fours = fours,
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
