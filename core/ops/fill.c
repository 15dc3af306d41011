// SPDX-License-Identifier: Apache-2.0
// x = value, in place. attr: f[0] value.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(fill)
{
    real *x = k->out, value = (real)k->node->attr.f[0];
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
    for (int64_t i = s.begin; i < s.end; i++)
        x[i] = value;
}

#else
#include "core/ops/lowering.h"

static bool lower(struct at_lower *l)
{
    return at_lower_elementwise(
        l, &(struct at_lower_map){AT_MAP_FILL, .p = l->node->attr.f[0], .y = l->out, .n = at_lower_count(l->node->shape)});
}

static struct at_cost cost(const struct at_node *n)
{
    return (struct at_cost){0, 4.0 * (double)at_shape_count(n->shape)};
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}}, .attr = {.f = {1.5f}}},
    {.in = {{1, {127}}}, .attr = {.f = {0}}},
    {.in = {{3, {2, 3, 205}}}, .attr = {.f = {-3e6f}}},
};

const struct at_op at_op_fill = {
    .name = "fill",
    .id = AT_ID_fill,
    .required = 1,
    .infer = at_infer_same,
    .backward = AT_NO_BACKWARD,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .constant = 1,
    .updates = true,
};

struct at_node *at_fill(struct at_graph *g, struct at_node *x, float value)
{
    return at_graph_append(g, &at_op_fill, &x, 1, &(struct at_attr){.f = {value}}, NULL);
}

#endif
