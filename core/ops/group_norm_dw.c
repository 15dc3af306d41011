// SPDX-License-Identifier: Apache-2.0
// Adjoint of group_norm with respect to gamma and beta, (2,C) = [dgamma | dbeta]: with e = dy act'(gamma xhat + beta),
// dgamma = sum of e xhat and dbeta = sum of e over samples and positions.
#include "core/ops/group_norm.h"

#ifdef AT_KERNEL

// What a thread holds of its sample, over channels.
struct channels {
    const real *gamma, *beta;
    real *mean, *rstd, *sum; // sum (2,c)
};

// Adds e xhat and e of a few rows to the sums over channels.
static inline void add_rows(const struct channels *ch, const real *restrict dy, const real *restrict x, int64_t rows,
                            int64_t c, bool silu)
{
    real *restrict dgamma = ch->sum, *restrict dbeta = ch->sum + c;
#pragma omp simd
    for (int64_t i = 0; i < c; i++) {
        real sum = 0, sum_x = 0;
        for (int64_t row = 0; row < rows; row++) {
            real xhat = real_fence(x[row * c + i] - ch->mean[i]) * ch->rstd[i], e = dy[row * c + i];
            if (silu)
                e *= group_norm_slope(ch->gamma[i] * xhat + ch->beta[i]);
            sum += e;
            sum_x += e * xhat;
        }
        dgamma[i] += sum_x;
        dbeta[i] += sum;
    }
}

static inline void add_chunk(const struct channels *ch, const real *dy, const real *x, int64_t rows, int64_t c,
                             bool silu)
{
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) {
        at_prefetch(dy + (row + 4) * c, 4 * c);
        at_prefetch(x + (row + 4) * c, 4 * c);
        add_rows(ch, dy + row * c, x + row * c, 4, c, silu);
    }
    for (; row < rows; row++)
        add_rows(ch, dy + row * c, x + row * c, 1, c, silu);
}

// part (2,c): the sums over the chunks [chunk, end) of sample n.
static void sum_piece(const struct at_kernel *k, const struct group_norm *d, const struct channels *ch, int64_t n,
                      int64_t chunk, int64_t end, real *part)
{
    memset(part, 0, (size_t)(2 * d->c) * sizeof(*part));
    for (; chunk < end; chunk++) {
        memset(ch->sum, 0, (size_t)(2 * d->c) * sizeof(*ch->sum));
        int64_t begin = group_norm_begin(d, chunk), rows = group_norm_begin(d, chunk + 1) - begin;
        int64_t at = (n * d->hw + begin) * d->c;
        const real *dy = (const real *)k->in[0] + at, *x = (const real *)k->in[1] + at;
        if (d->silu)
            add_chunk(ch, dy, x, rows, d->c, true);
        else
            add_chunk(ch, dy, x, rows, d->c, false);
        for (int64_t i = 0; i < 2 * d->c; i++)
            part[i] += ch->sum[i];
    }
}

AT_HOST(group_norm_dw)
{
    struct group_norm d = group_norm_of(k->node, k->node->in[1]);
    struct group_norm_work w = group_norm_work(k, &d, 4);
    struct channels ch = {k->in[2], k->in[3], w.local, w.local + d.c, w.local + 2 * d.c};
    int64_t pieces = group_norm_pieces(&d), c2 = 2 * d.c;
    real *part = (real *)k->scratch + group_norm_scratch(&d, k->threads, 4); // (n, pieces, 2, c)
    group_norm_stats(k, &d, &w, k->in[1]);
    struct at_share s = at_share_of(k, d.n * pieces);
    for (int64_t u = s.begin; u < s.end; u++) {
        int64_t n = u / pieces, piece = u % pieces;
        group_norm_spread(&d, &w, n, NORM_MEAN, ch.mean);
        group_norm_spread(&d, &w, n, NORM_RSTD, ch.rstd);
        sum_piece(k, &d, &ch, n, d.chunks * piece / pieces, d.chunks * (piece + 1) / pieces, part + u * c2);
    }
    at_team_wait(k);
    real *y = k->out;
    s = at_share_of(k, c2);
    for (int64_t i = s.begin; i < s.end; i++) {
        double total = 0;
        for (int64_t u = 0; u < d.n * pieces; u++)
            total += (double)part[u * c2 + i];
        y[i] = (real)total;
    }
}

#else

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (!group_norm_infer(n, 1, why, size))
        return false;
    n->shape = AT_SHAPE(2, at_shape_last(n->in[1]->shape));
    return true;
}

static size_t scratch(const struct at_node *n, int threads)
{
    struct group_norm d = group_norm_of(n, n->in[1]);
    return group_norm_scratch(&d, threads, 4) + (size_t)(d.n * group_norm_pieces(&d) * 2 * d.c);
}

static size_t vulkan_scratch(const struct at_node *n)
{
    struct at_lower_norm norm = group_norm_lowering(n, n->in[1]);
    return at_lower_norm_scratch(&norm);
}

static bool lower(struct at_lower *l)
{
    struct at_lower_norm norm = group_norm_lowering(l->node, l->node->in[1]);
    norm.dy = l->in[0];
    norm.x = l->in[1];
    norm.gamma = l->in[2];
    norm.beta = l->in[3];
    norm.y = l->out;
    norm.scratch = l->scratch;
    return at_lower_norm_dw(l, &norm);
}

static struct at_cost cost(const struct at_node *n)
{
    double count = (double)at_shape_count(n->in[1]->shape);
    return (struct at_cost){count * (n->attr.i[1] == AT_ACT_SILU ? 24 : 10), at_cost_bytes(n)};
}

static const struct at_op_case cases[] = {
    {.in = {{4, {1, 3, 5, 8}}, {4, {1, 3, 5, 8}}, {1, {8}}, {1, {8}}},
     .attr = {.i = {1, AT_ACT_NONE}, .f = {1e-5f}}},
    {.in = {{4, {3, 5, 7, 12}}, {4, {3, 5, 7, 12}}, {1, {12}}, {1, {12}}},
     .attr = {.i = {4, AT_ACT_SILU}, .f = {1e-6f}}},
    {.in = {{3, {3, 31, 7}}, {3, {3, 31, 7}}, {1, {7}}, {1, {7}}}, .attr = {.i = {7, AT_ACT_SILU}, .f = {1e-5f}}},
    {.in = {{2, {3, 127}}, {2, {3, 127}}, {1, {127}}, {1, {127}}}, .attr = {.i = {1, AT_ACT_NONE}, .f = {1e-5f}}},
    {.in = {{4, {1, 33, 31, 64}}, {4, {1, 33, 31, 64}}, {1, {64}}, {1, {64}}},
     .attr = {.i = {32, AT_ACT_SILU}, .f = {1e-6f}},
     .low = -4,
     .high = 4},
};

const struct at_op at_op_group_norm_dw = {
    .name = "group_norm_dw",
    .id = AT_ID_group_norm_dw,
    .required = 4,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_group_norm_dw(struct at_graph *g, struct at_node *dy, struct at_node *x, struct at_node *gamma,
                                 struct at_node *beta, const struct at_attr *norm)
{
    return at_graph_append(g, &at_op_group_norm_dw, (struct at_node *[]){dy, x, gamma, beta}, 4, norm, NULL);
}

#endif
