// SPDX-License-Identifier: Apache-2.0
// Adjoint of attention: [dq | dk | dv] in one vector. in: q, k, v, y (the output), dy. attr as attention.
// With p = softmax(s): dv = p^T dy, dp = dy v^T, ds = p (dp - sum_j dy_j y_j), dq = scale ds k, dk = scale ds^T q.
#include "core/ops/attention.h"

#define STRIPS 2 // of queries at a time

static int64_t key_parts(int64_t lk)
{
    return (lk + AT_KEYS - 1) / AT_KEYS;
}

// Reals of a strip (struct strip).
static int64_t strip_scratch(int64_t lk, int64_t d)
{
    return AT_QUERIES * (lk + key_parts(lk) + 2 * AT_ATTENTION_PAD(d) + 3 * d);
}

// Reals of the keys of a head (struct keys).
static int64_t keys_scratch(int64_t lk, int64_t d)
{
    return AT_ATTENTION_PAD(lk) * (2 * d + 2 * AT_ATTENTION_PAD(d)) + key_parts(lk) * AT_KEYS * d;
}

// Reals of a thread.
static int64_t thread_scratch(const struct at_node *n)
{
    int64_t d = n->in[0]->shape.dim[2] / n->attr.i[0], lk = n->in[1]->shape.dim[1];
    return STRIPS * strip_scratch(lk, d) + keys_scratch(lk, d) + AT_KEYS * AT_QUERIES;
}

#ifdef AT_KERNEL

// The keys of a head and what belongs to them, side by side: in a tensor the rows of a head lie far apart.
struct keys {
    real *k, *v;   // (lk, d)
    real *turned;  // (key_parts, d, AT_KEYS): k
    real *dk, *dv; // (lk, d padded)
};

struct head {
    const real *q, *k, *v, *y, *dy;
    real *dq, *dk, *dv;
    int64_t lq, lk, d, width;
    real scale;
    bool causal;
    struct keys keys;
};

// Queries side by side, and what is known of them.
struct strip {
    int64_t first, count, parts;                            // parts: blocks of keys that any of them sees
    real top[AT_QUERIES], sum[AT_QUERIES], dot[AT_QUERIES]; // dot = sum_j dy_j y_j
    real *p;                                                // (lk, AT_QUERIES): exponentials, then probabilities
    real *factor;                                           // (key_parts, AT_QUERIES), which makes these of those
    real *q, *dy;                                           // (AT_QUERIES, d padded); q is scaled
    real *q_turned, *dy_turned, *dq;                        // (d, AT_QUERIES)
};

static struct at_scores_block block_of(const struct head *h, const struct strip *s, int64_t part)
{
    int64_t parts = key_parts(h->lk), begin = h->lk * part / parts;
    return (struct at_scores_block){s->first, s->count, begin, h->lk * (part + 1) / parts - begin, h->causal};
}

static void gather(const struct head *h, struct strip *s)
{
    int64_t w = h->width, d = h->d, padded = AT_ATTENTION_PAD(d);
    const real *q = h->q + s->first * w, *dy = h->dy + s->first * w, *y = h->y + s->first * w;
    at_queries_turn(s->count, d, h->scale, q, w, s->q_turned);
    at_queries_turn(s->count, d, 1, dy, w, s->dy_turned);
    real scale = h->scale;
    memset(s->dot, 0, sizeof(s->dot));
    for (int64_t i = 0; i < s->count; i++, q += w, dy += w, y += w) {
        real dot = 0, *to = s->q + i * padded;
#pragma omp simd reduction(+ : dot)
        for (int64_t j = 0; j < d; j++) {
            to[j] = scale * q[j];
            dot += dy[j] * y[j];
        }
        memcpy(s->dy + i * padded, dy, (size_t)d * sizeof(*dy));
        s->dot[i] = dot;
    }
}

// p = exp(score - the largest so far) for key block `part`, unless nobody sees it.
static void scores(const struct head *h, struct strip *s, int64_t part)
{
    struct at_scores_block b = block_of(h, s, part);
    if (at_scores_unseen(&b))
        return;
    int64_t w = AT_ATTENTION_PAD(s->count);
    real shrink[AT_QUERIES], *p = s->p + b.begin * AT_QUERIES;
    near_gemm(b.keys, w, h->d, h->keys.k + b.begin * h->d, h->d, s->q_turned, AT_QUERIES, false, p, AT_QUERIES);
    at_scores_weigh(&b, p, part == 0, s->top, s->sum, shrink);
    memcpy(s->factor + part * AT_QUERIES, s->top, (size_t)w * sizeof(real));
    s->parts = part + 1;
}

// The factors that make probabilities of p.
static void factors(struct strip *s)
{
    for (int64_t part = 0; part < s->parts; part++)
#pragma omp simd
        for (int64_t i = 0; i < AT_ATTENTION_PAD(s->count); i++)
            s->factor[part * AT_QUERIES + i] = real_exp(s->factor[part * AT_QUERIES + i] - s->top[i]) / s->sum[i];
}

// What the strip adds to all gradients by key block `part`.
static void adjoint(const struct head *h, struct strip *s, int64_t part, real *ds)
{
    struct at_scores_block b = block_of(h, s, part);
    int64_t w = AT_ATTENTION_PAD(s->count), d = h->d, padded = AT_ATTENTION_PAD(d);
    real *p = s->p + b.begin * AT_QUERIES, *factor = s->factor + part * AT_QUERIES;
    near_gemm(b.keys, w, d, h->keys.v + b.begin * d, d, s->dy_turned, AT_QUERIES, false, ds, AT_QUERIES);
    for (int64_t j = 0; j < b.keys; j++)
#pragma omp simd
        for (int64_t i = 0; i < w; i++) {
            real x = p[j * AT_QUERIES + i] * factor[i];
            p[j * AT_QUERIES + i] = x;
            ds[j * AT_QUERIES + i] = x * (ds[j * AT_QUERIES + i] - s->dot[i]);
        }
    near_gemm(b.keys, padded, s->count, p, AT_QUERIES, s->dy, padded, true, h->keys.dv + b.begin * padded, padded);
    near_gemm(b.keys, padded, s->count, ds, AT_QUERIES, s->q, padded, true, h->keys.dk + b.begin * padded, padded);
    near_gemm(d, w, b.keys, h->keys.turned + part * d * AT_KEYS, AT_KEYS, ds, AT_QUERIES, part > 0, s->dq, AT_QUERIES);
}

// Gradients of the queries from `first` on, as many as are taken at once; what they add to those of keys and values.
static void queries_backward(const struct head *h, struct strip *strips, int64_t first, real *ds)
{
    int count = 0;
    for (int64_t at = first; count < STRIPS && at < h->lq; at += AT_QUERIES, count++) {
        struct strip *s = &strips[count];
        s->first = at;
        s->count = h->lq - at < AT_QUERIES ? h->lq - at : AT_QUERIES;
        gather(h, s);
    }
    for (int64_t part = 0; part < key_parts(h->lk); part++)
        for (int i = 0; i < count; i++)
            scores(h, &strips[i], part);
    for (int i = 0; i < count; i++)
        factors(&strips[i]);
    // The last strip sees the most.
    for (int64_t part = 0; part < strips[count - 1].parts; part++)
        for (int i = 0; i < count; i++)
            if (part < strips[i].parts)
                adjoint(h, &strips[i], part, ds);
    for (int i = 0; i < count; i++)
        real_turn(h->d, strips[i].count, h->scale, strips[i].dq, AT_QUERIES, h->dq + strips[i].first * h->width,
                  h->width);
}

static void keys_gather(const struct head *h)
{
    const struct keys *to = &h->keys;
    int64_t d = h->d, parts = key_parts(h->lk), padded = AT_ATTENTION_PAD(d);
    for (int64_t j = 0; j < h->lk; j++) {
        memcpy(to->k + j * d, h->k + j * h->width, (size_t)d * sizeof(real));
        memcpy(to->v + j * d, h->v + j * h->width, (size_t)d * sizeof(real));
    }
    for (int64_t part = 0; part < parts; part++) {
        int64_t begin = h->lk * part / parts, end = h->lk * (part + 1) / parts;
        real_turn(end - begin, d, 1, to->k + begin * d, d, to->turned + part * d * AT_KEYS, AT_KEYS);
    }
    memset(to->dk, 0, (size_t)(h->lk * padded) * sizeof(real));
    memset(to->dv, 0, (size_t)(h->lk * padded) * sizeof(real));
}

static void head_backward(struct head *h, real *scratch)
{
    struct strip strips[STRIPS];
    int64_t d = h->d, padded = AT_ATTENTION_PAD(d), rows = AT_ATTENTION_PAD(h->lk);
    real *ds = scratch, *rest = ds + AT_KEYS * AT_QUERIES;
    for (int i = 0; i < STRIPS; i++, rest += strip_scratch(h->lk, d)) {
        struct strip *s = &strips[i];
        s->p = rest;
        s->factor = s->p + h->lk * AT_QUERIES;
        s->q = s->factor + key_parts(h->lk) * AT_QUERIES;
        s->dy = s->q + padded * AT_QUERIES;
        s->q_turned = s->dy + padded * AT_QUERIES;
        s->dy_turned = s->q_turned + d * AT_QUERIES;
        s->dq = s->dy_turned + d * AT_QUERIES;
    }
    h->keys = (struct keys){.dk = rest, .dv = rest + rows * padded, .k = rest + 2 * rows * padded};
    h->keys.v = h->keys.k + rows * d;
    h->keys.turned = h->keys.v + rows * d;
    keys_gather(h);
    for (int64_t first = 0; first < h->lq; first += STRIPS * AT_QUERIES)
        queries_backward(h, strips, first, ds);
    for (int64_t j = 0; j < h->lk; j++) {
        memcpy(h->dk + j * h->width, h->keys.dk + j * padded, (size_t)d * sizeof(real));
        memcpy(h->dv + j * h->width, h->keys.dv + j * padded, (size_t)d * sizeof(real));
    }
}

AT_HOST(attention_bwd)
{
    const struct at_node *node = k->node;
    struct at_shape q = node->in[0]->shape, kv = node->in[1]->shape;
    int64_t heads = node->attr.i[0], width = q.dim[2], d = width / heads, lq = q.dim[1], lk = kv.dim[1];
    real *dq = k->out, *dk = dq + at_shape_count(q), *dv = dk + at_shape_count(kv);
    struct at_share s = at_share_of(k, q.dim[0] * heads);
    // Of fewer heads than threads, a thread has one or none.
    int64_t place = q.dim[0] * heads < k->threads ? s.begin : k->thread;
    real *scratch = (real *)k->scratch + place * thread_scratch(node);
    for (int64_t unit = s.begin; unit < s.end; unit++) {
        int64_t at_q = unit / heads * lq * width + unit % heads * d, at_k = unit / heads * lk * width + unit % heads * d;
        struct head h = {(const real *)k->in[0] + at_q, (const real *)k->in[1] + at_k, (const real *)k->in[2] + at_k,
                         (const real *)k->in[3] + at_q, (const real *)k->in[4] + at_q, dq + at_q, dk + at_k, dv + at_k,
                         lq, lk, d, width, (real)node->attr.f[0], node->attr.i[1]};
        head_backward(&h, scratch);
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
    struct at_scores_tensor q = at_scores_in(l, 0), k = at_scores_in(l, 1), v = at_scores_in(l, 2);
    struct at_scores_tensor y = at_scores_in(l, 3), dy = at_scores_in(l, 4), dq = {l->out, false};
    struct at_scores_tensor dk = {dq.at + 4 * (uint64_t)at_shape_count(n->in[0]->shape), false};
    struct at_scores_tensor dv = {dk.at + 4 * (uint64_t)at_shape_count(n->in[1]->shape), false};
    uint64_t p = l->scratch, dp = p + at_scores_bytes(n, 2) / 2;
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
    int64_t units = n->in[0]->shape.dim[0] * n->attr.i[0];
    return (size_t)(thread_scratch(n) * (units < threads ? units : threads));
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

// A head by fours.
static bool fours(const struct at_node *n)
{
    return at_shape_last(n->in[0]->shape) / n->attr.i[0] % 4 == 0;
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
    {.in = {{3, {3, 65, 40}}, {3, {3, 77, 40}}, {3, {3, 77, 40}}, {3, {3, 65, 40}}, {3, {3, 65, 40}}},
     .attr = {.i = {2, 0}, .f = {0.22f}}, .halves = 15},
    // Several blocks of queries and of keys; causal strips that do not see the last ones.
    {.in = {{3, {1, 300, 26}}, {3, {1, 300, 26}}, {3, {1, 300, 26}}, {3, {1, 300, 26}}, {3, {1, 300, 26}}},
     .attr = {.i = {2, 1}, .f = {1}}, .low = -2, .high = 2},
    {.in = {{3, {1, 261, 40}}, {3, {1, 99, 40}}, {3, {1, 99, 40}}, {3, {1, 261, 40}}, {3, {1, 261, 40}}},
     .attr = {.i = {2, 1}, .f = {0.3f}}},
    {.in = {{3, {1, 70, 17}}, {3, {1, 193, 17}}, {3, {1, 193, 17}}, {3, {1, 70, 17}}, {3, {1, 70, 17}}},
     .attr = {.i = {1, 1}, .f = {0.5f}}},
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
    .halves = 15,
    .fours = fours,
};

struct at_node *at_attention_bwd(struct at_graph *g, struct at_node *q, struct at_node *k, struct at_node *v,
                                 struct at_node *y, struct at_node *dy, const struct at_attr *attention)
{
    return at_graph_append(g, &at_op_attention_bwd, (struct at_node *[]){q, k, v, y, dy}, 5, attention, NULL);
}

#endif
