// SPDX-License-Identifier: Apache-2.0
// First and second moments of AdamW, in place: m += (1 - beta1) (g - m), v += (1 - beta2) (g^2 - v), where
// g = grad * scale. moments (2,n) = [m | v]; scalars as in adamw.c.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(adamw_moments)
{
    const real *grad = k->in[1], *scalars = k->in[2];
    int64_t n = at_shape_count(k->node->shape) / 2;
    real *m = k->out, *v = m + n;
    real b1 = scalars[1], b2 = scalars[2], scale = scalars[7];
    struct at_share s = at_share_grain(k, n, 64);
#pragma omp simd
    for (int64_t i = s.begin; i < s.end; i++) {
        real g = grad[i] * scale;
        m[i] = b1 * m[i] + (1 - b1) * g;
        v[i] = b2 * v[i] + (1 - b2) * (g * g);
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (at_shape_count(n->in[0]->shape) != 2 * at_shape_count(n->in[1]->shape))
        return at_infer_fail(why, size, "moments must hold two values for each of the gradient");
    if (at_shape_count(n->in[2]->shape) != 8)
        return at_infer_fail(why, size, "scalars must be (8)");
    return at_infer_same(n, why, size);
}

static bool lower(struct at_lower *l)
{
    struct at_adamw_push push = {
        .x = l->in[1], .moments = l->out, .scalars = l->in[2], .n = at_lower_count(l->node->shape) / 2};
    return at_lower_adamw(l, AT_ADAMW_MOMENTS, &push);
}

static struct at_cost cost(const struct at_node *n)
{
    double half = (double)at_shape_count(n->shape) / 2;
    return (struct at_cost){8 * half, 4 * 5 * half};
}

static const struct at_op_case cases[] = {
    {.in = {{2, {2, 1}}, {1, {1}}, {1, {8}}}},
    {.in = {{2, {2, 127}}, {1, {127}}, {1, {8}}}, .low = 0.1f, .high = 0.9f},
    {.in = {{2, {2, 615}}, {1, {615}}, {1, {8}}}},
    {.in = {{2, {2, 260}}, {1, {260}}, {1, {8}}}, .low = 0.1f, .high = 0.9f},
};

const struct at_op at_op_adamw_moments = {
    .name = "adamw_moments",
    .id = AT_ID_adamw_moments,
    .required = 3,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .constant = 7,
    .updates = true,
};

struct at_node *at_adamw_moments(struct at_graph *g, struct at_node *moments, struct at_node *grad,
                                 struct at_node *scalars)
{
    return at_graph_append(g, &at_op_adamw_moments, (struct at_node *[]){moments, grad, scalars}, 3, NULL, NULL);
}

#endif
