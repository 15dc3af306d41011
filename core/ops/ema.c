// SPDX-License-Identifier: Apache-2.0
// Exponential moving average, in place: average += (1 - decay) (w - average). scalars (1): decay.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(ema)
{
    const real *w = k->in[1], *scalars = k->in[2];
    real *average = k->out, rate = 1 - scalars[0];
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
#pragma omp simd
    for (int64_t i = s.begin; i < s.end; i++)
        average[i] += rate * (w[i] - average[i]);
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (!at_shape_equal(n->in[0]->shape, n->in[1]->shape))
        return at_infer_fail(why, size, "the average and w must have one shape");
    if (at_shape_count(n->in[2]->shape) != 1)
        return at_infer_fail(why, size, "scalars must be (1): decay");
    return at_infer_same(n, why, size);
}

static bool lower(struct at_lower *l)
{
    return at_lower_elementwise(
        l, &(struct at_lower_map){AT_MAP_LERP, .a = l->in[0], .b = l->in[1], .scalars = l->in[2], .y = l->out, .n = at_lower_count(l->node->shape)});
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 3);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}, {1, {1}}, {1, {1}}}},
    {.in = {{1, {127}}, {1, {127}}, {1, {1}}}, .low = 0, .high = 1},
    {.in = {{2, {3, 205}}, {2, {3, 205}}, {1, {1}}}},
};

const struct at_op at_op_ema = {
    .name = "ema",
    .id = AT_ID_ema,
    .required = 3,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .constant = 7,
    .updates = true,
};

struct at_node *at_ema(struct at_graph *g, struct at_node *average, struct at_node *w, struct at_node *scalars)
{
    return at_graph_append(g, &at_op_ema, (struct at_node *[]){average, w, scalars}, 3, NULL, NULL);
}

#endif
