// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov & Hutter 2019, algorithm 2), in place, with the weight decay of torch.optim.AdamW:
// w <- (1 - lr decay) w - lr (m / c1) / (sqrt(v / c2) + eps). moments (2,n) = [m | v];
// scalars (8): lr, beta1, beta2, eps, decay, c1 = 1 - beta1^t, c2 = 1 - beta2^t, scale of the gradient.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(adamw)
{
    const real *scalars = k->in[2];
    int64_t n = at_shape_count(k->node->shape);
    const real *m = k->in[1], *v = m + n;
    real *w = k->out;
    real lr = scalars[0], eps = scalars[3], keep = 1 - lr * scalars[4];
    real step = lr / scalars[5], c2 = 1 / scalars[6];
    struct at_share s = at_share_grain(k, n, 64);
#pragma omp simd
    for (int64_t i = s.begin; i < s.end; i++)
        w[i] = keep * w[i] - step * m[i] / ((real)sqrt(v[i] * c2) + eps);
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (at_shape_count(n->in[1]->shape) != 2 * at_shape_count(n->in[0]->shape))
        return at_infer_fail(why, size, "moments must hold two values for each of w");
    if (at_shape_count(n->in[2]->shape) != 8)
        return at_infer_fail(why, size, "scalars must be (8)");
    return at_infer_same(n, why, size);
}

static bool lower(struct at_lower *l)
{
    struct at_adamw_push push = {
        .x = l->out, .moments = l->in[1], .scalars = l->in[2], .n = at_lower_count(l->node->shape)};
    return at_lower_adamw(l, AT_ADAMW_WEIGHTS, &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 7);
}

// Second moments and bias corrections must be positive, so all inputs are.
static const struct at_op_case cases[] = {
    {.in = {{1, {1}}, {2, {2, 1}}, {1, {8}}}, .low = 0.1f, .high = 0.9f},
    {.in = {{1, {127}}, {2, {2, 127}}, {1, {8}}}, .low = 0.5f, .high = 1},
    {.in = {{1, {615}}, {2, {2, 615}}, {1, {8}}}, .low = 0.01f, .high = 2},
    {.in = {{1, {260}}, {2, {2, 260}}, {1, {8}}}, .low = 0.1f, .high = 0.9f},
};

const struct at_op at_op_adamw = {
    .name = "adamw",
    .id = AT_ID_adamw,
    .required = 3,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .constant = 7,
    .updates = true,
};

struct at_node *at_adamw(struct at_graph *g, struct at_node *w, struct at_node *moments, struct at_node *scalars)
{
    return at_graph_append(g, &at_op_adamw, (struct at_node *[]){w, moments, scalars}, 3, NULL, NULL);
}

#endif
