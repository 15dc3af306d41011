// SPDX-License-Identifier: Apache-2.0
#include "core/ops/product.h"

#include "core/ops/product_tile.h"

#include <assert.h>
#include <stdio.h>

struct sum_push {
    uint64_t parts, y, bias, residual;
    uint32_t count, n, form;
    float alpha;
};
struct matmul_push {
    struct at_product_head head;
    uint32_t k, lda, ldb, ldy;
    uint32_t batches, inner;
    uint32_t a_batch[2], b_batch[2], y_batch[2];
};
static_assert(sizeof(struct sum_push) == 48, "shaders/product_sum.comp");
static_assert(sizeof(struct matmul_push) == 104, "shaders/matmul.comp");

static uint64_t above(uint64_t n, uint64_t each)
{
    return (n + each - 1) / each;
}

// Lanes along n, where neighbours read neighbours, unless there are few columns.
static struct at_product_tile lean_tile(const struct at_lower *l, uint32_t n)
{
    uint32_t lanes = at_lower_workgroup(l, l->cpu ? 8 : 64), columns = n <= 4 ? 1 : n <= 16 ? 4 : 8;
    columns = columns < lanes ? columns : lanes;
    return (struct at_product_tile){.bm = lanes / columns * 8, .bn = columns * 4, .tm = 8, .tn = 4};
}

// The tile that takes the least time by a rough count: the work with all padding, over the share of a large device that
// the workgroups fill. A cooperative-matrix kernel would be chosen in at_lower_product, beside these.
static struct at_product_tile choose_tile(const struct at_lower *l, const struct at_product_params *p)
{
    const double fill = 96 * 128; // invocations
    bool a_wide = p->a_wide && at_lower_wide(p->push->a), b_wide = p->b_wide && at_lower_wide(p->push->b);
    const struct at_product_tile *best = NULL;
    double least = 0;
    for (size_t i = 0; !l->cpu && i < AT_PRODUCT_TILES; i++) {
        const struct at_product_tile *t = &at_product_tiles[i];
        uint32_t shared = t->bk * (t->bm + t->bn + 8) * 4;
        if (at_product_tile_threads(t) > l->info->max_workgroup || shared > l->info->shared_memory ||
            !at_product_tile_takes(t, a_wide, b_wide))
            continue;
        double groups = (double)(above(p->push->m, t->bm) * above(p->push->n, t->bn)) * p->splits * p->batches;
        double full = groups * at_product_tile_threads(t) / fill;
        double time = groups * t->bm * t->bn / t->speed / (full < 1 ? full : 1);
        if (!best || time < least) {
            best = t;
            least = time;
        }
    }
    return best ? *best : lean_tile(l, p->push->n);
}

// What padding leaves of a tile's work.
static double used(uint64_t n, uint64_t each)
{
    return (double)n / (double)(above(n, each) * each);
}

// Whether to pass A from lane to lane instead of taking the lean tile, and with which tile.
static bool choose_lanes(const struct at_lower *l, const struct at_product_params *p, struct at_product_tile *t)
{
    const double faster = 4; // than the lean kernel
    uint32_t lanes = l->info->subgroup, m = p->push->m, n = p->push->n;
    if (!l->cpu || !l->info->subgroup_shuffle || !l->info->int64 || lanes > l->info->max_workgroup || !p->a_wide ||
        !p->b_wide || !at_lower_wide(p->push->a) || !at_lower_wide(p->push->b))
        return false;
    struct at_product_tile tile = {.bm = 16, .bn = 4 * lanes, .tm = 16, .tn = 4, .bk = 2 * lanes};
    struct at_product_tile lean = lean_tile(l, n);
    if (faster * used(m, tile.bm) * used(n, tile.bn) * used(p->k_length, tile.bk) < used(m, lean.bm) * used(n, lean.bn))
        return false;
    *t = tile;
    return true;
}

static bool sum_parts(struct at_lower *l, const struct at_product_params *p, const struct at_product_head *head)
{
    struct sum_push push = {l->scratch,
                            head->y,
                            head->bias,
                            head->residual,
                            head->m * head->n,
                            head->n,
                            (head->bias != 0) | (head->residual != 0) << 1 | p->splits << 8,
                            head->alpha};
    uint32_t constants[] = {at_lower_workgroup(l, 256), (uint32_t)p->act};
    at_lower_barrier(l);
    return at_lower_dispatch(l, &(struct at_lower_dispatch_params){
                                    .kernel = "product_sum_f32",
                                    .constants = constants,
                                    .constant_count = 2,
                                    .push = &push,
                                    .push_size = sizeof(push),
                                    .groups = at_lower_groups(push.count, constants[0]),
                                    .flops = 8.0 * push.count * p->splits,
                                });
}

bool at_lower_product(struct at_lower *l, const struct at_product_params *params)
{
    struct at_product_params p = *params;
    struct at_product_head *head = p.push, whole = *p.push;
    p.batches = p.batches ? p.batches : 1;
    p.splits = p.splits ? p.splits : 1;
    assert(p.splits == 1 || (p.y_plain && p.batches == 1 && l->scratch));
    head->form = (head->bias != 0) | (head->residual != 0) << 1 | (uint32_t)p.y_plain << 2 | p.splits << 8;
    if (p.splits > 1)
        head->y = l->scratch;
    struct at_product_tile t = choose_tile(l, &p);
    char name[64];
    snprintf(name, sizeof(name), "%s_%s%s", p.kernel, at_lower_weight(p.b_type),
             choose_lanes(l, &p, &t) ? "_lanes" : "");
    bool tiled = t.bk != 0;
    uint32_t flags =
        (tiled && p.a_wide && at_lower_wide(head->a)) | (tiled && p.b_wide && at_lower_wide(head->b)) << 1 |
        (tiled && p.y_wide && at_lower_wide(head->y | head->bias | head->residual)) << 2 | (uint32_t)p.a_rows << 3 |
        (uint32_t)p.b_rows << 4 | (uint32_t)p.flip << 5 | (uint32_t)(!tiled || p.k_length % t.bk == 0) << 6;
    uint32_t constants[] = {at_product_tile_threads(&t),       t.bm, t.bn, t.tm | t.tn << 8, t.bk, flags,
                            p.splits > 1 ? 0 : (uint32_t)p.act};
    bool ok = at_lower_dispatch(
        l, &(struct at_lower_dispatch_params){
               .kernel = name,
               .constants = constants,
               .constant_count = 7,
               .push = head,
               .push_size = p.push_size,
               .groups = above(head->m, t.bm) * above(head->n, t.bn) * p.splits * p.batches,
               .flops = 2.0 * head->m * head->n * p.batches * p.k_segments * p.k_length + 8.0 * head->m * head->n,
           });
    return ok && (p.splits == 1 || sum_parts(l, &p, &whole));
}

uint32_t at_product_splits(int64_t m, int64_t n, int64_t k)
{
    const uint64_t enough = 256, shortest = 128, most = 64; // workgroups, elements of k, parts
    uint64_t groups = above((uint64_t)m, 64) * above((uint64_t)n, 64);
    uint64_t splits = above(enough, groups), longest = (uint64_t)k / shortest;
    splits = splits < most ? splits : most;
    splits = splits < longest ? splits : longest;
    return groups > enough / 2 || splits < 2 ? 1 : (uint32_t)splits;
}

size_t at_product_scratch(int64_t m, int64_t n, int64_t k)
{
    uint32_t splits = at_product_splits(m, n, k);
    return splits > 1 ? (size_t)(m * n) * splits * 4 : 0;
}

static bool fours(const uint32_t batch[2])
{
    return batch[0] % 4 == 0 && batch[1] % 4 == 0;
}

bool at_lower_matmul(struct at_lower *l, const struct at_product_matmul *p)
{
    uint32_t batches = p->batches ? p->batches : 1;
    struct matmul_push push = {
        .head = {p->a, p->b, p->y, p->bias, p->residual, p->m, p->n, 0, p->alpha},
        .k = p->k,
        .lda = p->lda,
        .ldb = p->ldb,
        .ldy = p->ldy,
        .batches = batches,
        .inner = p->inner ? p->inner : 1,
        .a_batch = {p->a_batch[0], p->a_batch[1]},
        .b_batch = {p->b_batch[0], p->b_batch[1]},
        .y_batch = {p->y_batch[0], p->y_batch[1]},
    };
    return at_lower_product(l, &(struct at_product_params){
                                   .kernel = "matmul",
                                   .b_type = p->b_type,
                                   .push = &push.head,
                                   .push_size = sizeof(push),
                                   .k_segments = 1,
                                   .k_length = p->k,
                                   .batches = batches,
                                   .splits = p->splits,
                                   .act = p->act,
                                   .a_rows = !p->ta,
                                   .b_rows = p->tb,
                                   .a_wide = p->lda % 4 == 0 && fours(p->a_batch) && (p->ta ? p->m : p->k) % 4 == 0,
                                   .b_wide = p->ldb % 4 == 0 && fours(p->b_batch) && (p->tb ? p->k : p->n) % 4 == 0,
                                   .y_wide = p->ldy % 4 == 0 && fours(p->y_batch) && p->n % 4 == 0,
                                   .y_plain = batches == 1 && p->ldy == p->n,
                               });
}
