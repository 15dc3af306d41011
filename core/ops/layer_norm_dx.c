// SPDX-License-Identifier: Apache-2.0
// Adjoint of layer_norm with respect to x: with g = dy gamma and means over the row,
// dx = (g - mean(g) - xhat mean(g xhat)) / sqrt(variance + eps).
#include "core/ops/layer_norm.h"

#ifdef AT_KERNEL

AT_HOST(layer_norm_dx)
{
    const real *gamma = k->in[2];
    int64_t c = at_shape_last(k->node->shape);
    struct at_share s = at_share_of(k, at_shape_rows(k->node->shape));
    for (int64_t row = s.begin; row < s.end; row++) {
        const real *dy = (const real *)k->in[0] + row * c, *x = (const real *)k->in[1] + row * c;
        real *dx = (real *)k->out + row * c; // may be dy or x
        struct layer_norm n = layer_norm_stats(x, c, (real)k->node->attr.f[0]);
        real g = 0, gx = 0;
#pragma omp simd reduction(+ : g, gx)
        for (int64_t i = 0; i < c; i++) {
            real e = dy[i] * gamma[i];
            g += e;
            gx += e * ((x[i] - n.mean) * n.rstd);
        }
        g /= (real)c;
        gx /= (real)c;
#pragma omp simd
        for (int64_t i = 0; i < c; i++)
            dx[i] = n.rstd * (dy[i] * gamma[i] - g - (x[i] - n.mean) * n.rstd * gx);
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (!at_shape_equal(n->in[0]->shape, n->in[1]->shape))
        return at_infer_fail(why, size, "dy and x must have one shape");
    return layer_norm_infer(n, 2, 3, why, size);
}

static bool lower(struct at_lower *l)
{
    struct at_lower_norm norm = {.dy = l->in[0],
                                 .x = l->in[1],
                                 .x_half = at_lower_half(l, 1),
                                 .gamma = l->in[2],
                                 .y = l->out,
                                 .n = at_shape_rows(l->node->shape),
                                 .c = at_shape_last(l->node->shape),
                                 .eps = l->node->attr.f[0]};
    return at_lower_layer_norm(l, &norm);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 17);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {7}}, {1, {7}}, {1, {7}}}, .attr = {.f = {1e-5f}}},
    {.in = {{2, {3, 127}}, {2, {3, 127}}, {1, {127}}}, .attr = {.f = {1e-6f}}, .low = -100, .high = 100},
    {.in = {{3, {2, 41, 205}}, {3, {2, 41, 205}}, {1, {205}}}, .attr = {.f = {1e-5f}}},
    {.in = {{2, {300, 3}}, {2, {300, 3}}, {1, {3}}}, .attr = {.f = {1e-2f}}},
    {.in = {{2, {7, 324}}, {2, {7, 324}}, {1, {324}}}, .attr = {.f = {1e-5f}}},
    {.in = {{2, {7, 324}}, {2, {7, 324}}, {1, {324}}}, .attr = {.f = {1e-5f}}, .halves = 2},
};

const struct at_op at_op_layer_norm_dx = {
    .name = "layer_norm_dx",
    .id = AT_ID_layer_norm_dx,
    .required = 3,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .halves = 1u << 1,
    .inplace = 3, // a row's sums are complete before its first element is written
};

struct at_node *at_layer_norm_dx(struct at_graph *g, struct at_node *dy, struct at_node *x, struct at_node *gamma,
                                 float eps)
{
    struct at_attr attr = {.f = {eps}};
    return at_graph_append(g, &at_op_layer_norm_dx, (struct at_node *[]){dy, x, gamma}, 3, &attr, NULL);
}

#endif
