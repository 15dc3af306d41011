// SPDX-License-Identifier: Apache-2.0
// Layer norm (Ba et al. 2016): y = gamma xhat + beta, xhat = (x - mean) / sqrt(variance + eps) over the last dimension.
#include "core/ops/layer_norm.h"

#ifdef AT_KERNEL

AT_HOST(layer_norm)
{
    const real *gamma = k->in[1], *beta = k->in[2];
    int64_t c = at_shape_last(k->node->shape);
    struct at_share s = at_share_of(k, at_shape_rows(k->node->shape));
    for (int64_t row = s.begin; row < s.end; row++) {
        const real *x = (const real *)k->in[0] + row * c;
        real *y = (real *)k->out + row * c; // may be x
        struct layer_norm n = layer_norm_stats(x, c, (real)k->node->attr.f[0]);
#pragma omp simd
        for (int64_t i = 0; i < c; i++)
            y[i] = (x[i] - n.mean) * n.rstd * gamma[i] + beta[i];
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    return layer_norm_infer(n, 1, 3, why, size);
}

static void backward(struct at_backward *b)
{
    float eps = b->node->attr.f[0];
    if (b->need[0])
        b->dx[0] = at_layer_norm_dx(b->g, b->dy, b->in[0], b->in[1], eps);
    if (!b->need[1] && !b->need[2])
        return;
    struct at_node *dw = at_layer_norm_dw(b->g, b->dy, b->in[0], eps);
    int64_t c = at_shape_last(b->node->shape);
    if (b->need[1])
        b->dx[1] = at_view(b->g, dw, 0, AT_SHAPE(c));
    if (b->need[2])
        b->dx[2] = at_view(b->g, dw, c, AT_SHAPE(c));
}

static bool lower(struct at_lower *l)
{
    struct at_lower_norm norm = {.x = l->in[0],
                                 .x_half = at_lower_half(l, 0),
                                 .y_half = at_lower_half(l, AT_ARITY),
                                 .gamma = l->in[1],
                                 .beta = l->in[2],
                                 .y = l->out,
                                 .n = at_shape_rows(l->node->shape),
                                 .c = at_shape_last(l->node->shape),
                                 .eps = l->node->attr.f[0]};
    return at_lower_layer_norm(l, &norm);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 8);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {7}}, {1, {7}}, {1, {7}}}, .attr = {.f = {1e-5f}}},
    {.in = {{2, {3, 127}}, {1, {127}}, {1, {127}}}, .attr = {.f = {1e-6f}}, .low = -100, .high = 100},
    {.in = {{3, {2, 41, 205}}, {1, {205}}, {1, {205}}}, .attr = {.f = {1e-5f}}},
    {.in = {{2, {300, 3}}, {1, {3}}, {1, {3}}}, .attr = {.f = {1e-2f}}},
    // The mean is 350 times the deviation, and rounding it to a float moves every element by up to 1.3e-5.
    {.in = {{2, {5, 65}}, {1, {65}}, {1, {65}}}, .attr = {.f = {1e-5f}}, .low = 100, .high = 101, .tolerance = 1e-4},
    {.in = {{2, {7, 324}}, {1, {324}}, {1, {324}}}, .attr = {.f = {1e-5f}}},
    {.in = {{2, {7, 324}}, {1, {324}}, {1, {324}}}, .attr = {.f = {1e-5f}}, .halves = 1},
    {.in = {{2, {7, 324}}, {1, {324}}, {1, {324}}}, .attr = {.f = {1e-5f}}, .halves = 1 | AT_HALVES_Y, .tolerance = AT_HALVES_ERROR},
};

const struct at_op at_op_layer_norm = {
    .name = "layer_norm",
    .id = AT_ID_layer_norm,
    .required = 3,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .halves = 1 | AT_HALVES_Y,
    .inplace = 1, // a row's statistics are complete before its first element is written
    .cheap = true,
};

struct at_node *at_layer_norm(struct at_graph *g, struct at_node *x, struct at_node *gamma, struct at_node *beta,
                              float eps)
{
    struct at_attr attr = {.f = {eps}};
    return at_graph_append(g, &at_op_layer_norm, (struct at_node *[]){x, gamma, beta}, 3, &attr, NULL);
}

#endif
