// SPDX-License-Identifier: Apache-2.0
// act(group norm) (Wu & He 2018): y = act(gamma xhat + beta), xhat = (x - mean) / sqrt(variance + eps) over all of a
// sample's elements in a group of neighbouring channels. in[3] stats; absent: made here (and not kept for a gradient).
#include "core/ops/group_norm.h"

#ifdef AT_KERNEL

AT_HOST(group_norm)
{
    struct group_norm d = group_norm_of(k->node, k->node->in[0]);
    const real *x = k->in[0], *gamma = k->in[1], *beta = k->in[2], *stats = k->in[3];
    real *mean = (real *)k->scratch + k->thread * 2 * d.c, *factor = mean + d.c;
    if (!stats) {
        real *made = (real *)k->scratch + k->threads * 2 * d.c;
        group_norm_make_stats(k, &d, x, made + d.n * d.groups * 2, made);
        stats = made;
    }
    int64_t last = -1;
    struct at_share s = at_share_of(k, d.n * d.hw);
    for (int64_t row = s.begin; row < s.end; row++) {
        if (row / d.hw != last) {
            last = row / d.hw;
            group_norm_spread(&d, stats, last, NORM_MEAN, mean);
            group_norm_spread(&d, stats, last, NORM_RSTD, factor);
            for (int64_t i = 0; i < d.c; i++)
                factor[i] *= gamma[i];
        }
        const real *p = x + row * d.c;
        real *y = (real *)k->out + row * d.c; // may be p
        if (d.silu) {
#pragma omp simd
            for (int64_t i = 0; i < d.c; i++) {
                real pre = (p[i] - mean[i]) * factor[i] + beta[i];
                y[i] = pre * real_sigmoid(pre);
            }
        } else {
#pragma omp simd
            for (int64_t i = 0; i < d.c; i++)
                y[i] = (p[i] - mean[i]) * factor[i] + beta[i];
        }
    }
}

#else

static bool infer(struct at_node *n, char *why, size_t size)
{
    return group_norm_infer(n, 0, why, size);
}

static void backward(struct at_backward *b)
{
    const struct at_attr *attr = &b->node->attr;
    struct at_node *stats = b->in[3] ? b->in[3] : at_group_norm_stats(b->g, b->in[0], attr);
    struct at_node *sums = at_group_norm_sums(b->g, b->dy, b->in[0], b->in[1], b->in[2], stats, attr);
    if (b->need[0])
        b->dx[0] = at_group_norm_dx(b->g, b->dy, b->in[0], b->in[1], b->in[2], stats, sums, attr);
    if (!sums || (!b->need[1] && !b->need[2]))
        return;
    int64_t n = sums->shape.dim[0], c = at_shape_last(sums->shape);
    struct at_node *dw = at_view(b->g, sums, 0, AT_SHAPE(n, 2 * c));
    dw = n > 1 ? at_sum_rows(b->g, dw, false) : dw;
    if (b->need[1])
        b->dx[1] = at_view(b->g, dw, 0, AT_SHAPE(c));
    if (b->need[2])
        b->dx[2] = at_view(b->g, dw, c, AT_SHAPE(c));
}

static size_t scratch(const struct at_node *n, int threads)
{
    struct group_norm d = group_norm_of(n, n->in[0]);
    size_t made = n->in[3] ? 0 : (size_t)(d.n * d.groups * 2) + group_norm_scratch(&d, threads);
    return (size_t)(threads * 2 * d.c) + made;
}

static size_t vulkan_scratch(const struct at_node *n)
{
    struct at_lower_norm norm = group_norm_lowering(n, n->in[0]);
    return n->in[3] ? 0 : at_lower_norm_stats_bytes(&norm) + at_lower_norm_scratch(&norm);
}

static bool lower(struct at_lower *l)
{
    struct at_lower_norm norm = group_norm_lowering(l->node, l->node->in[0]);
    norm.x = l->in[0];
    norm.gamma = l->in[1];
    norm.beta = l->in[2];
    norm.y = l->out;
    norm.stats = l->in[3] ? l->in[3] : l->scratch;
    norm.scratch = l->scratch + at_lower_norm_stats_bytes(&norm);
    return (l->in[3] || at_lower_norm_stats(l, &norm)) && at_lower_group_norm(l, &norm);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, n->attr.i[1] == AT_ACT_SILU ? 20 : 8);
}

static const struct at_op_case cases[] = {
    {.in = {{4, {1, 3, 5, 8}}, {1, {8}}, {1, {8}}}, .attr = {.i = {1, AT_ACT_NONE}, .f = {1e-5f}}},
    {.in = {{4, {3, 5, 7, 12}}, {1, {12}}, {1, {12}}}, .attr = {.i = {4, AT_ACT_SILU}, .f = {1e-6f}}},
    {.in = {{3, {3, 31, 7}}, {1, {7}}, {1, {7}}}, .attr = {.i = {7, AT_ACT_SILU}, .f = {1e-5f}}},
    {.in = {{2, {3, 127}}, {1, {127}}, {1, {127}}}, .attr = {.i = {1, AT_ACT_NONE}, .f = {1e-5f}}},
    {.in = {{4, {1, 33, 31, 64}}, {1, {64}}, {1, {64}}}, .attr = {.i = {32, AT_ACT_SILU}, .f = {1e-6f}}},
    // The mean is 350 times the deviation, and rounding it to a float moves every element by up to 1.3e-5.
    {.in = {{3, {2, 205, 6}}, {1, {6}}, {1, {6}}},
     .attr = {.i = {2, AT_ACT_NONE}, .f = {1e-5f}},
     .low = 100,
     .high = 101,
     .tolerance = 1e-4},
    // Statistics that were made before; here they are any numbers, and the gradient is that of others.
    {.in = {{4, {3, 5, 7, 12}}, {1, {12}}, {1, {12}}, {3, {3, 4, 2}}},
     .attr = {.i = {4, AT_ACT_SILU}, .f = {1e-6f}},
     .forward_only = true},
    {.in = {{3, {2, 31, 9}}, {1, {9}}, {1, {9}}, {3, {2, 3, 2}}},
     .attr = {.i = {3, AT_ACT_NONE}, .f = {1e-5f}},
     .forward_only = true},
};

const struct at_op at_op_group_norm = {
    .name = "group_norm",
    .id = AT_ID_group_norm,
    .required = 3,
    .infer = infer,
    .backward = backward,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
    .constant = 1u << 3, // they follow from x, which the gradient knows
    .inplace = 1, // the statistics are complete before the first element is written
    .cheap = true,
};

struct at_node *at_group_norm(struct at_graph *g, struct at_node *x, struct at_node *gamma, struct at_node *beta,
                              const struct at_norm_params *p)
{
    struct at_attr attr = {.i = {p->groups, p->act}, .f = {p->eps}};
    struct at_node *stats = at_group_norm_stats(g, x, &attr);
    return at_graph_append(g, &at_op_group_norm, (struct at_node *[]){x, gamma, beta, stats}, 4, &attr, NULL);
}

#endif
