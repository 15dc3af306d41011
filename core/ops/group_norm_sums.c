// SPDX-License-Identifier: Apache-2.0
// What both adjoints of group_norm need of a sample: sums (N,2,C) = [sum of e xhat | sum of e] over positions, with
// e = dy act'(gamma xhat + beta). Summed over samples they are [dgamma | dbeta].
// in: dy, x (N,..,C), gamma, beta (C), stats (N,groups,2).
#include "core/ops/group_norm.h"

// Parts into which samples are cut: about 64 in all, each some whole chunks.
static int64_t pieces_of(const struct group_norm *d)
{
    int64_t pieces = d->n < 64 ? 64 / d->n : 1;
    return pieces < d->chunks ? pieces : d->chunks;
}

#ifdef AT_KERNEL

// What a thread holds of its sample, over channels.
struct channels {
    const real *gamma, *beta;
    real *mean, *rstd, *sum; // sum (2,c)
};

// Adds e xhat and e of a row to the sums.
static inline void add_row(const struct channels *ch, const real *restrict dy, const real *restrict x, int64_t c,
                           bool silu)
{
    real *restrict dgamma = ch->sum, *restrict dbeta = ch->sum + c;
#pragma omp simd
    for (int64_t i = 0; i < c; i++) {
        real xhat = real_fence(x[i] - ch->mean[i]) * ch->rstd[i], e = dy[i];
        if (silu)
            e *= group_norm_slope(ch->gamma[i] * xhat + ch->beta[i]);
        dgamma[i] += e * xhat;
        dbeta[i] += e;
    }
}

// part (2,c): the sums over the chunks [chunk, end) of sample n.
static void sum_piece(const struct at_kernel *k, const struct group_norm *d, const struct channels *ch, int64_t n,
                      int64_t chunk, int64_t end, real *part)
{
    int64_t c = d->c;
    memset(part, 0, (size_t)(2 * c) * sizeof(*part));
    for (; chunk < end; chunk++) {
        memset(ch->sum, 0, (size_t)(2 * c) * sizeof(*ch->sum));
        int64_t first = n * d->hw + group_norm_begin(d, chunk), last = n * d->hw + group_norm_begin(d, chunk + 1);
        const real *dy = k->in[0], *x = k->in[1];
        for (int64_t row = first; row < last; row++)
            if (d->silu)
                add_row(ch, dy + row * c, x + row * c, c, true);
            else
                add_row(ch, dy + row * c, x + row * c, c, false);
        for (int64_t i = 0; i < 2 * c; i++)
            part[i] += ch->sum[i];
    }
}

AT_HOST(group_norm_sums)
{
    struct group_norm d = group_norm_of(k->node, k->node->in[1]);
    int64_t pieces = pieces_of(&d), c2 = 2 * d.c;
    real *part = k->scratch, *local = part + d.n * pieces * c2 + k->thread * 2 * c2; // part (n, pieces, 2, c)
    struct channels ch = {k->in[2], k->in[3], local, local + d.c, local + c2};
    struct at_share s = at_share_of(k, d.n * pieces);
    for (int64_t u = s.begin; u < s.end; u++) {
        int64_t n = u / pieces, piece = u % pieces;
        group_norm_spread(&d, k->in[4], n, NORM_MEAN, ch.mean);
        group_norm_spread(&d, k->in[4], n, NORM_RSTD, ch.rstd);
        sum_piece(k, &d, &ch, n, d.chunks * piece / pieces, d.chunks * (piece + 1) / pieces, part + u * c2);
    }
    at_team_wait(k);
    real *y = k->out;
    s = at_share_of(k, d.n * c2);
    for (int64_t i = s.begin; i < s.end; i++) {
        double total = 0;
        for (int64_t piece = 0; piece < pieces; piece++)
            total += (double)part[(i / c2 * pieces + piece) * c2 + i % c2];
        y[i] = (real)total;
    }
}

#else

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (!group_norm_infer(n, 1, why, size))
        return false;
    n->shape = AT_SHAPE(n->in[1]->shape.dim[0], 2, at_shape_last(n->in[1]->shape));
    return true;
}

static size_t scratch(const struct at_node *n, int threads)
{
    struct group_norm d = group_norm_of(n, n->in[1]);
    return (size_t)(d.n * pieces_of(&d) * 2 * d.c + threads * 4 * d.c);
}

static size_t vulkan_scratch(const struct at_node *n)
{
    struct at_lower_norm norm = group_norm_lowering(n, n->in[1]);
    return at_lower_norm_sums_scratch(&norm);
}

static bool lower(struct at_lower *l)
{
    struct at_lower_norm norm = group_norm_lowering(l->node, l->node->in[1]);
    norm.dy = l->in[0];
    norm.x = l->in[1];
    norm.gamma = l->in[2];
    norm.beta = l->in[3];
    norm.stats = l->in[4];
    norm.y = l->out;
    norm.scratch = l->scratch;
    return at_lower_norm_sums(l, &norm);
}

static struct at_cost cost(const struct at_node *n)
{
    double count = (double)at_shape_count(n->in[1]->shape);
    return (struct at_cost){count * (n->attr.i[1] == AT_ACT_SILU ? 20 : 5), at_cost_bytes(n)};
}

static const struct at_op_case cases[] = {
    {.in = {{4, {1, 3, 5, 8}}, {4, {1, 3, 5, 8}}, {1, {8}}, {1, {8}}, {3, {1, 1, 2}}},
     .attr = {.i = {1, AT_ACT_NONE}, .f = {1e-5f}}},
    {.in = {{4, {3, 5, 7, 12}}, {4, {3, 5, 7, 12}}, {1, {12}}, {1, {12}}, {3, {3, 4, 2}}},
     .attr = {.i = {4, AT_ACT_SILU}, .f = {1e-6f}}},
    {.in = {{3, {3, 31, 7}}, {3, {3, 31, 7}}, {1, {7}}, {1, {7}}, {3, {3, 7, 2}}},
     .attr = {.i = {7, AT_ACT_SILU}, .f = {1e-5f}}},
    {.in = {{2, {3, 127}}, {2, {3, 127}}, {1, {127}}, {1, {127}}, {3, {3, 1, 2}}},
     .attr = {.i = {1, AT_ACT_NONE}, .f = {1e-5f}}},
    {.in = {{4, {2, 33, 31, 64}}, {4, {2, 33, 31, 64}}, {1, {64}}, {1, {64}}, {3, {2, 32, 2}}},
     .attr = {.i = {32, AT_ACT_SILU}, .f = {1e-6f}},
     .low = -3,
     .high = 3},
};

const struct at_op at_op_group_norm_sums = {
    .name = "group_norm_sums",
    .id = AT_ID_group_norm_sums,
    .required = 5,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_group_norm_sums(struct at_graph *g, struct at_node *dy, struct at_node *x, struct at_node *gamma,
                                   struct at_node *beta, struct at_node *stats, const struct at_attr *norm)
{
    return at_graph_append(g, &at_op_group_norm_sums, (struct at_node *[]){dy, x, gamma, beta, stats}, 5, norm, NULL);
}

#endif
