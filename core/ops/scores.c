// SPDX-License-Identifier: Apache-2.0
#include "core/ops/scores.h"

#include <assert.h>

#define SCRATCH ((int64_t)16 << 20) // scores that are held at once: 64 MiB

static struct at_scores sizes_of(const struct at_node *node, int buffers)
{
    struct at_shape q = node->in[0]->shape;
    struct at_scores p = {.lq = q.dim[1], .lk = node->in[1]->shape.dim[1], .heads = node->attr.i[0], .width = q.dim[2]};
    p.d = p.width / p.heads;
    p.all = q.dim[0] * p.heads;
    int64_t rows = SCRATCH / buffers / p.lk;
    rows = rows < 1 ? 1 : rows;
    p.most_rows = rows < p.lq ? rows : p.lq;
    p.most_heads = rows < p.lq ? 1 : rows / p.lq;
    if (p.most_heads >= p.heads)
        p.most_heads -= p.most_heads % p.heads;
    p.most_heads = p.most_heads < p.all ? p.most_heads : p.all;
    return p;
}

size_t at_scores_bytes(const struct at_node *node, int buffers)
{
    struct at_scores p = sizes_of(node, buffers);
    return (size_t)(p.most_rows * p.most_heads * p.lk * 4) * (size_t)buffers;
}

bool at_scores_next(struct at_scores *p, const struct at_node *node, int buffers)
{
    int64_t first = p->first + p->rows, z = p->z;
    if (first == p->lq) {
        first = 0;
        z += p->count;
    }
    *p = sizes_of(node, buffers);
    p->first = first;
    p->z = z;
    p->rows = p->lq - first < p->most_rows ? p->lq - first : p->most_rows;
    int64_t left = p->most_heads < p->heads ? p->heads - z % p->heads : p->all - z;
    p->count = left < p->most_heads ? left : p->most_heads;
    return z < p->all;
}

struct at_scores_tensor at_scores_in(const struct at_lower *l, int i)
{
    return (struct at_scores_tensor){l->in[i], at_lower_half(l, i)};
}

uint64_t at_scores_queries(const struct at_scores *p, struct at_scores_tensor q)
{
    int64_t sample = p->z / p->heads, head = p->z % p->heads;
    return q.at + (q.half ? 2 : 4) * (uint64_t)((sample * p->lq + p->first) * p->width + head * p->d);
}

uint64_t at_scores_keys(const struct at_scores *p, struct at_scores_tensor k)
{
    int64_t sample = p->z / p->heads, head = p->z % p->heads;
    return k.at + (k.half ? 2 : 4) * (uint64_t)(sample * p->lk * p->width + head * p->d);
}

bool at_lower_scores(struct at_lower *l, const struct at_scores *p, enum at_scores_product product, uint64_t s,
                     struct at_scores_tensor q, struct at_scores_tensor k, float alpha)
{
    uint32_t rows = (uint32_t)p->rows, lk = (uint32_t)p->lk, d = (uint32_t)p->d, width = (uint32_t)p->width;
    uint32_t heads = (uint32_t)p->heads, scores = rows * lk;
    struct {
        uint64_t at;
        uint32_t line, batch[2];
        bool half;
    } m[] = {{s, lk, {heads * scores, scores}, false},
             {at_scores_queries(p, q), width, {(uint32_t)(p->lq * p->width), d}, q.half},
             {at_scores_keys(p, k), width, {(uint32_t)(p->lk * p->width), d}, k.half}};
    // a, b and y among s, q, k; the sizes m, n, k.
    static const int order[][3] = {[AT_SCORES_QK] = {1, 2, 0}, [AT_SCORES_SK] = {0, 2, 1}, [AT_SCORES_SQ] = {0, 1, 2}};
    const uint32_t size[][3] = {
        [AT_SCORES_QK] = {rows, lk, d}, [AT_SCORES_SK] = {rows, d, lk}, [AT_SCORES_SQ] = {lk, d, rows}};
    int a = order[product][0], b = order[product][1], y = order[product][2];
    return at_lower_matmul(l, &(struct at_product_matmul){
                                  .a = m[a].at,
                                  .b = m[b].at,
                                  .y = m[y].at,
                                  .residual = product == AT_SCORES_SQ && p->first ? m[y].at : 0,
                                  .m = size[product][0],
                                  .n = size[product][1],
                                  .k = size[product][2],
                                  .ta = product == AT_SCORES_SQ,
                                  .a_half = m[a].half,
                                  .b_type = m[b].half ? AT_F16 : AT_F32,
                                  .y_half = m[y].half,
                                  .tb = product == AT_SCORES_QK,
                                  .lda = m[a].line,
                                  .ldb = m[b].line,
                                  .ldy = m[y].line,
                                  .batches = (uint32_t)p->count,
                                  .inner = heads,
                                  .a_batch = {m[a].batch[0], m[a].batch[1]},
                                  .b_batch = {m[b].batch[0], m[b].batch[1]},
                                  .y_batch = {m[y].batch[0], m[y].batch[1]},
                                  .alpha = alpha,
                              });
}

// One of the kernels that go over rows of scores: a workgroup a row, or on a software device an invocation a row.
static bool lower_rows(struct at_lower *l, const struct at_scores *p, const char *kernel, const void *push,
                       uint32_t push_size, bool half)
{
    uint32_t workgroup = at_lower_workgroup(l, l->cpu ? 8 : p->lk > 512 ? 256 : 64);
    uint32_t constants[] = {workgroup, l->cpu ? 1 : workgroup, half};
    uint64_t rows = (uint64_t)(p->rows * p->count);
    return at_lower_dispatch(l, &(struct at_lower_dispatch_params){
                                    .kernel = kernel,
                                    .constants = constants,
                                    .constant_count = 3,
                                    .push = push,
                                    .push_size = push_size,
                                    .groups = at_lower_groups(rows, l->cpu ? workgroup : 1),
                                    .flops = 16.0 * (double)rows * (double)p->lk,
                                });
}

struct softmax_push {
    uint64_t s;
    uint32_t rows, keys, queries, first, causal, pad;
};
static_assert(sizeof(struct softmax_push) == 32, "shaders/attention_softmax.comp");

bool at_lower_softmax(struct at_lower *l, const struct at_scores *p, uint64_t s)
{
    struct softmax_push push = {.s = s,
                                .rows = (uint32_t)(p->rows * p->count),
                                .keys = (uint32_t)p->lk,
                                .queries = (uint32_t)p->rows,
                                .first = (uint32_t)p->first,
                                .causal = (uint32_t)l->node->attr.i[1]};
    return lower_rows(l, p, "attention_softmax_f32", &push, sizeof(push), false);
}

struct ds_push {
    uint64_t p, dp, y, dy;
    uint32_t rows, keys, queries, heads, d, width, outer, pad;
};
static_assert(sizeof(struct ds_push) == 64, "shaders/attention_ds.comp");

bool at_lower_softmax_bwd(struct at_lower *l, const struct at_scores *p, uint64_t s, uint64_t dp,
                          struct at_scores_tensor y, struct at_scores_tensor dy)
{
    struct ds_push push = {.p = s,
                           .dp = dp,
                           .y = at_scores_queries(p, y),
                           .dy = at_scores_queries(p, dy),
                           .rows = (uint32_t)(p->rows * p->count),
                           .keys = (uint32_t)p->lk,
                           .queries = (uint32_t)p->rows,
                           .heads = (uint32_t)p->heads,
                           .d = (uint32_t)p->d,
                           .width = (uint32_t)p->width,
                           .outer = (uint32_t)(p->lq * p->width)};
    return lower_rows(l, p, "attention_ds_f32", &push, sizeof(push), y.half);
}
