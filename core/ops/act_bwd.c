// SPDX-License-Identifier: Apache-2.0
// Adjoint of act: dx = dy act'(x). attr: i[0] enum at_act.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(act_bwd)
{
    const real *dy = k->in[0], *x = k->in[1];
    real *dx = k->out;
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
    switch (k->node->attr.i[0]) {
    case AT_ACT_SILU:
        for (int64_t i = s.begin; i < s.end; i++) {
            real p = real_sigmoid(x[i]);
            dx[i] = dy[i] * p * (1 + x[i] * (1 - p));
        }
        break;
    case AT_ACT_GELU:
        for (int64_t i = s.begin; i < s.end; i++) {
            real cdf = (real)0.5 * (1 + real_erf(x[i] * (real)0.70710678118654752));
            dx[i] = dy[i] * (cdf + x[i] * (real)0.39894228040143268 * real_exp((real)-0.5 * x[i] * x[i]));
        }
        break;
    case AT_ACT_QUICK_GELU:
        for (int64_t i = s.begin; i < s.end; i++) {
            real p = real_sigmoid((real)1.702 * x[i]);
            dx[i] = dy[i] * p * (1 + (real)1.702 * x[i] * (1 - p));
        }
        break;
    case AT_ACT_RELU:
        for (int64_t i = s.begin; i < s.end; i++)
            dx[i] = x[i] <= 0 ? 0 : dy[i];
        break;
    default:
        for (int64_t i = s.begin; i < s.end; i++) {
            real y = real_tanh(x[i]);
            dx[i] = dy[i] * (1 - y) * (1 + y);
        }
    }
}

#else
#include "core/ops/lowering.h"

static bool lower(struct at_lower *l)
{
    return at_lower_elementwise(
        l, &(struct at_lower_map){AT_MAP_ACT_BWD, .act = l->node->attr.i[0], .a = l->in[0], .b = l->in[1], .y = l->out,
             .halves = at_lower_halves_mask(l, 0, 1), .n = at_lower_count(l->node->shape)});
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 14);
}

static const struct at_op_case cases[] = {
    {.in = {{2, {3, 127}}, {2, {3, 127}}}, .attr = {.i = {AT_ACT_SILU}}, .low = -8, .high = 8},
    {.in = {{2, {5, 205}}, {2, {5, 205}}}, .attr = {.i = {AT_ACT_GELU}}, .low = -6, .high = 6},
    {.in = {{1, {65}}, {1, {65}}}, .attr = {.i = {AT_ACT_QUICK_GELU}}, .low = -6, .high = 6},
    {.in = {{2, {3, 127}}, {2, {3, 127}}}, .attr = {.i = {AT_ACT_RELU}}, .low = -6, .high = 6},
    {.in = {{2, {5, 205}}, {2, {5, 205}}}, .attr = {.i = {AT_ACT_TANH}}, .low = -4, .high = 4},
    {.in = {{2, {3, 128}}, {2, {3, 128}}}, .attr = {.i = {AT_ACT_GELU}}, .low = -6, .high = 6, .halves = 2},
};

const struct at_op at_op_act_bwd = {
    .name = "act_bwd",
    .id = AT_ID_act_bwd,
    .required = 2,
    .infer = at_infer_equal,
    .backward = AT_NO_BACKWARD,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .inplace = 3,
    .halves = 1u << 1,
};

struct at_node *at_act_bwd(struct at_graph *g, struct at_node *dy, struct at_node *x, enum at_act act)
{
    return at_graph_append(g, &at_op_act_bwd, (struct at_node *[]){dy, x}, 2, &(struct at_attr){.i = {act}}, NULL);
}

#endif
