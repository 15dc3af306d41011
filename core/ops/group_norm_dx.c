// SPDX-License-Identifier: Apache-2.0
// Adjoint of group_norm with respect to x: with g = dy act'(gamma xhat + beta) gamma and means over the group,
// dx = (g - mean(g) - xhat mean(g xhat)) / sqrt(variance + eps). Where dx is not x, g with SiLU waits there.
#include "core/ops/group_norm.h"

#ifdef AT_KERNEL

#define AHEAD 512 // reals between what is read and what is asked for

#define INLINE static inline __attribute__((always_inline)) // `kept` and `silu` are known in each copy

// What a thread holds of its sample, over channels.
struct channels {
    const real *gamma, *beta;
    real *mean, *rstd, *g, *gx;
};

static inline real slope_of(real gamma, real beta, real xhat, bool silu)
{
    return silu ? gamma * group_norm_slope(gamma * xhat + beta) : gamma;
}

// Adds g and g xhat of a few rows to the sums over channels, and puts g into `kept` (which may be dy) unless it is NULL.
INLINE void add_rows(const struct channels *ch, const real *dy, const real *x, real *kept, int64_t rows, int64_t c,
                     bool silu)
{
    const real *mean = ch->mean, *rstd = ch->rstd, *gamma = ch->gamma, *beta = ch->beta;
    real *restrict g = ch->g, *restrict gx = ch->gx;
#pragma omp simd
    for (int64_t i = 0; i < c; i++) {
        real sum = 0, sum_x = 0;
        for (int64_t row = 0; row < rows; row++) {
            real xhat = (x[row * c + i] - mean[i]) * rstd[i];
            real e = dy[row * c + i] * slope_of(gamma[i], beta[i], xhat, silu);
            if (kept)
                kept[row * c + i] = e;
            sum += e;
            sum_x += e * xhat;
        }
        g[i] += sum;
        gx[i] += sum_x;
    }
}

INLINE void add_chunk(const struct channels *ch, const real *dy, const real *x, real *kept, int64_t rows, int64_t c,
                      bool silu)
{
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) {
        at_prefetch(dy + (row + 4) * c, 4 * c);
        at_prefetch(x + (row + 4) * c, 4 * c);
        add_rows(ch, dy + row * c, x + row * c, kept ? kept + row * c : NULL, 4, c, silu);
    }
    for (; row < rows; row++)
        add_rows(ch, dy + row * c, x + row * c, kept ? kept + row * c : NULL, 1, c, silu);
}

// dx may be dy or x. `kept`: dy holds g already.
static inline void write_row(const struct channels *ch, const real *dy, const real *x, real *dx, int64_t c, bool silu,
                             bool kept)
{
#pragma omp simd
    for (int64_t i = 0; i < c; i++) {
        real xhat = (x[i] - ch->mean[i]) * ch->rstd[i];
        real e = kept ? dy[i] : dy[i] * slope_of(ch->gamma[i], ch->beta[i], xhat, silu);
        dx[i] = ch->rstd[i] * (e - ch->g[i] - xhat * ch->gx[i]);
    }
}

// Means of g and g xhat of every group into stats. The team meets inside.
static void sums(const struct at_kernel *k, const struct group_norm *d, const struct group_norm_work *w,
                 const struct channels *ch)
{
    struct at_share s = at_share_of(k, d->n * d->chunks);
    for (int64_t u = s.begin; u < s.end; u++) {
        int64_t n = u / d->chunks;
        if (u == s.begin || u % d->chunks == 0) {
            group_norm_spread(d, w, n, NORM_MEAN, ch->mean);
            group_norm_spread(d, w, n, NORM_RSTD, ch->rstd);
        }
        memset(ch->g, 0, (size_t)d->c * sizeof(*ch->g));
        memset(ch->gx, 0, (size_t)d->c * sizeof(*ch->gx));
        int64_t begin = group_norm_begin(d, u % d->chunks), rows = group_norm_begin(d, u % d->chunks + 1) - begin;
        int64_t at = (n * d->hw + begin) * d->c;
        const real *dy = (const real *)k->in[0] + at, *x = (const real *)k->in[1] + at;
        if (d->silu && k->out != k->in[1])
            add_chunk(ch, dy, x, (real *)k->out + at, rows, d->c, true);
        else if (d->silu)
            add_chunk(ch, dy, x, NULL, rows, d->c, true);
        else
            add_chunk(ch, dy, x, NULL, rows, d->c, false);
        group_norm_gather(d, ch->g, w->pairs + u * d->groups * 2);
        group_norm_gather(d, ch->gx, w->pairs + u * d->groups * 2 + 1);
    }
    at_team_wait(k);
    s = at_share_of(k, d->n * d->groups);
    for (int64_t u = s.begin; u < s.end; u++) {
        const real *pair = w->pairs + (u / d->groups * d->chunks * d->groups + u % d->groups) * 2;
        double g = 0, gx = 0, total = (double)(d->hw * d->width);
        for (int64_t i = 0; i < d->chunks; i++) {
            g += (double)pair[i * 2 * d->groups];
            gx += (double)pair[i * 2 * d->groups + 1];
        }
        w->stats[u * 4 + NORM_G] = (real)(g / total);
        w->stats[u * 4 + NORM_GX] = (real)(gx / total);
    }
    at_team_wait(k);
}

AT_HOST(group_norm_dx)
{
    struct group_norm d = group_norm_of(k->node, k->node->in[1]);
    struct group_norm_work w = group_norm_work(k, &d, 4);
    struct channels ch = {k->in[2], k->in[3], w.local, w.local + d.c, w.local + 2 * d.c, w.local + 3 * d.c};
    group_norm_stats(k, &d, &w, k->in[1]);
    sums(k, &d, &w, &ch);
    int64_t last = -1;
    struct at_share s = at_share_of(k, d.n * d.hw);
    for (int64_t row = s.begin; row < s.end; row++) {
        if (row / d.hw != last) {
            last = row / d.hw;
            group_norm_spread(&d, &w, last, NORM_MEAN, ch.mean);
            group_norm_spread(&d, &w, last, NORM_RSTD, ch.rstd);
            group_norm_spread(&d, &w, last, NORM_G, ch.g);
            group_norm_spread(&d, &w, last, NORM_GX, ch.gx);
        }
        const real *dy = (const real *)k->in[0] + row * d.c, *x = (const real *)k->in[1] + row * d.c;
        at_prefetch(dy + AHEAD, d.c);
        at_prefetch(x + AHEAD, d.c);
        real *dx = (real *)k->out + row * d.c;
        if (d.silu && k->out != k->in[1])
            write_row(&ch, dx, x, dx, d.c, true, true);
        else if (d.silu)
            write_row(&ch, dy, x, dx, d.c, true, false);
        else
            write_row(&ch, dy, x, dx, d.c, false, false);
    }
}

#else

static bool infer(struct at_node *n, char *why, size_t size)
{
    return group_norm_infer(n, 1, why, size);
}

static size_t scratch(const struct at_node *n, int threads)
{
    struct group_norm d = group_norm_of(n, n->in[1]);
    return group_norm_scratch(&d, threads, 4);
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
    return at_lower_group_norm(l, &norm);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, n->attr.i[1] == AT_ACT_SILU ? 40 : 16);
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

const struct at_op at_op_group_norm_dx = {
    .name = "group_norm_dx",
    .id = AT_ID_group_norm_dx,
    .required = 4,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
    .inplace = 3, // an element is read before it is written, in each pass
};

struct at_node *at_group_norm_dx(struct at_graph *g, struct at_node *dy, struct at_node *x, struct at_node *gamma,
                                 struct at_node *beta, const struct at_attr *norm)
{
    return at_graph_append(g, &at_op_group_norm_dx, (struct at_node *[]){dy, x, gamma, beta}, 4, norm, NULL);
}

#endif
