// SPDX-License-Identifier: Apache-2.0
// Activation functions: y = act(x), elementwise. attr: i[0] enum at_act.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(act)
{
    const real *x = k->in[0];
    real *y = k->out;
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
    switch (k->node->attr.i[0]) {
    case AT_ACT_SILU:
        for (int64_t i = s.begin; i < s.end; i++)
            y[i] = x[i] * real_sigmoid(x[i]);
        break;
    case AT_ACT_GELU:
        for (int64_t i = s.begin; i < s.end; i++)
            y[i] = x[i] * (real)0.5 * (1 + real_erf(x[i] * (real)0.70710678118654752));
        break;
    case AT_ACT_QUICK_GELU:
        for (int64_t i = s.begin; i < s.end; i++)
            y[i] = x[i] * real_sigmoid((real)1.702 * x[i]);
        break;
    case AT_ACT_RELU:
        for (int64_t i = s.begin; i < s.end; i++)
            y[i] = x[i] < 0 ? 0 : x[i];
        break;
    default:
        for (int64_t i = s.begin; i < s.end; i++)
            y[i] = real_tanh(x[i]);
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    int act = n->attr.i[0];
    if (act < AT_ACT_SILU || act > AT_ACT_TANH)
        return at_infer_fail(why, size, "unknown activation %d", act);
    return at_infer_same(n, why, size);
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_act_bwd(b->g, b->dy, b->in[0], b->node->attr.i[0]);
}

static bool lower(struct at_lower *l)
{
    return at_lower_elementwise(
        l, &(struct at_lower_map){AT_MAP_ACT, .act = l->node->attr.i[0], .a = l->in[0], .y = l->out,
             .halves = at_lower_halves_mask(l, 0, -1), .n = at_lower_count(l->node->shape)});
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 10);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}}, .attr = {.i = {AT_ACT_SILU}}, .low = -6, .high = 6},
    {.in = {{2, {3, 127}}}, .attr = {.i = {AT_ACT_SILU}}, .low = -20, .high = 20},
    {.in = {{2, {5, 205}}}, .attr = {.i = {AT_ACT_GELU}}, .low = -6, .high = 6},
    {.in = {{3, {2, 3, 65}}}, .attr = {.i = {AT_ACT_QUICK_GELU}}, .low = -6, .high = 6},
    {.in = {{3, {2, 3, 65}}}, .attr = {.i = {AT_ACT_RELU}}, .low = -6, .high = 6},
    {.in = {{2, {5, 205}}}, .attr = {.i = {AT_ACT_TANH}}, .low = -6, .high = 6},
    {.in = {{2, {3, 127}}}, .attr = {.i = {AT_ACT_TANH}}, .low = -1e-3f, .high = 1e-3f},
    {.in = {{1, {65}}}, .attr = {.i = {AT_ACT_TANH}}, .low = -1e6f, .high = 1e6f},
    {.in = {{2, {3, 128}}}, .attr = {.i = {AT_ACT_SILU}}, .low = -6, .high = 6, .halves = 1},
    {.in = {{2, {3, 20}}}, .attr = {.i = {AT_ACT_GELU}}, .low = -6, .high = 6, .halves = 1 | AT_HALVES_Y,
     .tolerance = AT_HALVES_ERROR},
};

const struct at_op at_op_act = {
    .name = "act",
    .id = AT_ID_act,
    .required = 1,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .inplace = 1,
    .halves = 1 | AT_HALVES_Y,
    .cheap = true,
    .epilogue = AT_EPILOGUE_ACT,
};

struct at_node *at_act(struct at_graph *g, struct at_node *x, enum at_act act)
{
    return at_graph_append(g, &at_op_act, &x, 1, &(struct at_attr){.i = {act}}, NULL);
}

#endif
