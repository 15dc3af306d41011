// SPDX-License-Identifier: Apache-2.0
// Adjoint of abs_err for y: dy = dm[n] sign(y - target) / elements of a sample; sign(0) = 0.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(abs_err_bwd)
{
    const real *dm = k->in[0], *y = k->in[1], *t = k->in[2];
    real *dy = k->out; // may lie in the memory of y or of the target
    int64_t count = at_shape_count(k->node->shape), rows = count / k->node->shape.dim[0];
    struct at_share s = at_share_grain(k, count, 64);
    for (int64_t i = s.begin; i < s.end;) {
        int64_t sample = i / rows, end = (sample + 1) * rows < s.end ? (sample + 1) * rows : s.end;
        real a = (real)((double)dm[sample] / (double)rows);
#pragma omp simd
        for (int64_t j = i; j < end; j++) {
            real u = y[j], v = t[j];
            dy[j] = u > v ? a : u < v ? -a : 0;
        }
        i = end;
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape y = n->in[1]->shape;
    if (!at_shape_equal(y, n->in[2]->shape))
        return at_infer_fail(why, size, "y and the target must have one shape");
    if (!at_shape_equal(n->in[0]->shape, AT_SHAPE(y.dim[0])))
        return at_infer_fail(why, size, "dm must be one value a sample");
    n->shape = y;
    n->dtype = n->in[1]->dtype;
    return true;
}

static bool lower(struct at_lower *l)
{
    uint32_t n = at_lower_count(l->node->shape);
    struct at_err_bwd push = {.dm = l->in[0],
                              .y = l->in[1],
                              .t = l->in[2],
                              .z = l->out,
                              .n = n,
                              .count = n / (uint32_t)l->node->shape.dim[0],
                              .c = 1};
    return at_lower_err_bwd(l, AT_ERR_BWD_ABS, &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 2);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}, {1, {1}}, {1, {1}}}},
    {.in = {{1, {3}}, {2, {3, 127}}, {2, {3, 127}}}},
    {.in = {{1, {2}}, {4, {2, 65, 7, 3}}, {4, {2, 65, 7, 3}}}, .low = -8, .high = 8},
    {.in = {{1, {2}}, {3, {2, 7, 8}}, {3, {2, 7, 8}}}},
};

const struct at_op at_op_abs_err_bwd = {
    .name = "abs_err_bwd",
    .id = AT_ID_abs_err_bwd,
    .required = 3,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .inplace = 6,
};

struct at_node *at_abs_err_bwd(struct at_graph *g, struct at_node *dm, struct at_node *y, struct at_node *target)
{
    return at_graph_append(g, &at_op_abs_err_bwd, (struct at_node *[]){dm, y, target}, 3, NULL, NULL);
}

#endif
