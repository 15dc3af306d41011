// SPDX-License-Identifier: Apache-2.0
// Adjoint of group_norm with respect to x: with g = dy act'(gamma xhat + beta) gamma and means over the group,
// dx = (g - mean(g) - xhat mean(g xhat)) / sqrt(variance + eps).
// in: dy, x (N,..,C), gamma, beta (C), stats (N,groups,2), sums (N,2,C) of group_norm_sums, which hold the means.
#include "core/ops/group_norm.h"

#ifdef AT_KERNEL

// What a thread holds of its sample, over channels.
struct channels {
    const real *gamma, *beta;
    real *mean, *rstd, *g, *gx;
};

// dx may be dy or x.
static inline void write_row(const struct channels *ch, const real *dy, const real *x, real *dx, int64_t c, bool silu)
{
#pragma omp simd
    for (int64_t i = 0; i < c; i++) {
        real xhat = (x[i] - ch->mean[i]) * ch->rstd[i], e = dy[i] * ch->gamma[i];
        if (silu)
            e *= group_norm_slope(ch->gamma[i] * xhat + ch->beta[i]);
        dx[i] = ch->rstd[i] * (e - ch->g[i] - xhat * ch->gx[i]);
    }
}

// Means of g and g xhat of sample n's groups as arrays over channels.
static inline void means(const struct group_norm *d, const struct channels *ch, const real *sums, int64_t n)
{
    const real *with_x = sums + n * 2 * d->c, *plain = with_x + d->c;
    for (int64_t first = 0; first < d->c; first += d->width) {
        double g = 0, gx = 0, total = (double)(d->hw * d->width);
        for (int64_t i = first; i < first + d->width; i++) {
            g += (double)ch->gamma[i] * (double)plain[i];
            gx += (double)ch->gamma[i] * (double)with_x[i];
        }
        for (int64_t i = first; i < first + d->width; i++) {
            ch->g[i] = (real)(g / total);
            ch->gx[i] = (real)(gx / total);
        }
    }
}

AT_HOST(group_norm_dx)
{
    struct group_norm d = group_norm_of(k->node, k->node->in[1]);
    real *local = (real *)k->scratch + k->thread * 4 * d.c;
    struct channels ch = {k->in[2], k->in[3], local, local + d.c, local + 2 * d.c, local + 3 * d.c};
    int64_t last = -1;
    struct at_share s = at_share_of(k, d.n * d.hw);
    for (int64_t row = s.begin; row < s.end; row++) {
        if (row / d.hw != last) {
            last = row / d.hw;
            group_norm_spread(&d, k->in[4], last, NORM_MEAN, ch.mean);
            group_norm_spread(&d, k->in[4], last, NORM_RSTD, ch.rstd);
            means(&d, &ch, k->in[5], last);
        }
        const real *dy = (const real *)k->in[0] + row * d.c, *x = (const real *)k->in[1] + row * d.c;
        real *dx = (real *)k->out + row * d.c;
        if (d.silu)
            write_row(&ch, dy, x, dx, d.c, true);
        else
            write_row(&ch, dy, x, dx, d.c, false);
    }
}

#else

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (!group_norm_infer(n, 1, why, size))
        return false;
    if (!at_shape_equal(n->in[5]->shape, AT_SHAPE(n->shape.dim[0], 2, at_shape_last(n->shape))))
        return at_infer_fail(why, size, "the sums must be (N,2,C)");
    return true;
}

static size_t scratch(const struct at_node *n, int threads)
{
    return (size_t)(threads * 4 * at_shape_last(n->shape));
}

static size_t vulkan_scratch(const struct at_node *n)
{
    struct at_lower_norm norm = group_norm_lowering(n, n->in[1]);
    return at_lower_norm_stats_bytes(&norm); // the means
}

static bool lower(struct at_lower *l)
{
    struct at_lower_norm norm = group_norm_lowering(l->node, l->node->in[1]);
    norm.dy = l->in[0];
    norm.x = l->in[1];
    norm.gamma = l->in[2];
    norm.beta = l->in[3];
    norm.stats = l->in[4];
    norm.sums = l->in[5];
    norm.y = l->out;
    norm.scratch = l->scratch;
    return at_lower_group_norm(l, &norm);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, n->attr.i[1] == AT_ACT_SILU ? 25 : 8);
}

static const struct at_op_case cases[] = {
    {.in = {{4, {1, 3, 5, 8}}, {4, {1, 3, 5, 8}}, {1, {8}}, {1, {8}}, {3, {1, 1, 2}}, {3, {1, 2, 8}}},
     .attr = {.i = {1, AT_ACT_NONE}, .f = {1e-5f}}},
    {.in = {{4, {3, 5, 7, 12}}, {4, {3, 5, 7, 12}}, {1, {12}}, {1, {12}}, {3, {3, 4, 2}}, {3, {3, 2, 12}}},
     .attr = {.i = {4, AT_ACT_SILU}, .f = {1e-6f}}},
    {.in = {{3, {3, 31, 7}}, {3, {3, 31, 7}}, {1, {7}}, {1, {7}}, {3, {3, 7, 2}}, {3, {3, 2, 7}}},
     .attr = {.i = {7, AT_ACT_SILU}, .f = {1e-5f}}},
    {.in = {{2, {3, 127}}, {2, {3, 127}}, {1, {127}}, {1, {127}}, {3, {3, 1, 2}}, {3, {3, 2, 127}}},
     .attr = {.i = {1, AT_ACT_NONE}, .f = {1e-5f}}},
    {.in = {{4, {1, 33, 31, 64}}, {4, {1, 33, 31, 64}}, {1, {64}}, {1, {64}}, {3, {1, 32, 2}}, {3, {1, 2, 64}}},
     .attr = {.i = {32, AT_ACT_SILU}, .f = {1e-6f}},
     .low = -4,
     .high = 4},
};

const struct at_op at_op_group_norm_dx = {
    .name = "group_norm_dx",
    .id = AT_ID_group_norm_dx,
    .required = 6,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
    .inplace = 3, // an element is read before it is written
};

struct at_node *at_group_norm_dx(struct at_graph *g, struct at_node *dy, struct at_node *x, struct at_node *gamma,
                                 struct at_node *beta, struct at_node *stats, struct at_node *sums,
                                 const struct at_attr *norm)
{
    struct at_node *in[] = {dy, x, gamma, beta, stats, sums};
    return at_graph_append(g, &at_op_group_norm_dx, in, 6, norm, NULL);
}

#endif
