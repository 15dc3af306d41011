// SPDX-License-Identifier: Apache-2.0
// Mean and 1 / sqrt(variance + eps) of each group of x (N,..,C), (N,groups,2): the part of group_norm that needs all of
// a sample. It stays for the gradient, so that x need not be gone through for it again.
#include "core/ops/group_norm.h"

#ifdef AT_KERNEL

AT_HOST(group_norm_stats)
{
    struct group_norm d = group_norm_of(k->node, k->node->in[0]);
    group_norm_make_stats(k, &d, k->in[0], k->scratch, k->out);
}

#else

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (!group_norm_infer_x(n, 0, why, size))
        return false;
    struct group_norm d = group_norm_of(n, n->in[0]);
    n->shape = group_norm_stats_shape(&d);
    return true;
}

static size_t scratch(const struct at_node *n, int threads)
{
    struct group_norm d = group_norm_of(n, n->in[0]);
    return group_norm_scratch(&d, threads);
}

static size_t vulkan_scratch(const struct at_node *n)
{
    struct at_lower_norm norm = group_norm_lowering(n, n->in[0]);
    return at_lower_norm_scratch(&norm);
}

static bool lower(struct at_lower *l)
{
    struct at_lower_norm norm = group_norm_lowering(l->node, l->node->in[0]);
    norm.x = l->in[0];
    norm.stats = l->out;
    norm.scratch = l->scratch;
    return at_lower_norm_stats(l, &norm);
}

static struct at_cost cost(const struct at_node *n)
{
    return (struct at_cost){5 * (double)at_shape_count(n->in[0]->shape), at_cost_bytes(n)};
}

static const struct at_op_case cases[] = {
    {.in = {{4, {1, 3, 5, 8}}}, .attr = {.i = {1}, .f = {1e-5f}}},
    {.in = {{4, {3, 5, 7, 12}}}, .attr = {.i = {4}, .f = {1e-6f}}},
    {.in = {{3, {3, 31, 7}}}, .attr = {.i = {7}, .f = {1e-5f}}},
    {.in = {{2, {3, 127}}}, .attr = {.i = {1}, .f = {1e-5f}}},
    {.in = {{4, {1, 33, 31, 64}}}, .attr = {.i = {32}, .f = {1e-6f}}},
    {.in = {{4, {2, 9, 7, 640}}}, .attr = {.i = {32}, .f = {1e-6f}}},
    {.in = {{3, {2, 205, 6}}}, .attr = {.i = {2}, .f = {1e-5f}}, .low = 100, .high = 101},
};

const struct at_op at_op_group_norm_stats = {
    .name = "group_norm_stats",
    .id = AT_ID_group_norm_stats,
    .required = 1,
    .infer = infer,
    .backward = AT_NO_BACKWARD, // group_norm_dx sees through them
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_group_norm_stats(struct at_graph *g, struct at_node *x, const struct at_attr *norm)
{
    return at_graph_append(g, &at_op_group_norm_stats, &x, 1, norm, NULL);
}

#endif
