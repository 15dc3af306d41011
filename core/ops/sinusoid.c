// SPDX-License-Identifier: Apache-2.0
// Sinusoidal embedding of t (N) -> (N,dim): angles t exp(-ln(10000) i / (dim/2 - shift)), i < dim/2, computed in double;
// [cos | sin] if flip, else [sin | cos]. attr: i[0] dim, i[1] flip, f[0] shift.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(sinusoid)
{
    const real *t = k->in[0];
    real *y = k->out;
    int64_t dim = k->node->attr.i[0], half = dim / 2;
    bool flip = k->node->attr.i[1];
    double slope = -9.210340371976184 / ((double)half - (double)k->node->attr.f[0]);
    struct at_share s = at_share_of(k, k->node->shape.dim[0] * half);
    for (int64_t u = s.begin; u < s.end; u++) {
        int64_t n = u / half, i = u % half;
        double angle = (double)t[n] * exp(slope * (double)i);
        y[n * dim + i + (flip ? half : 0)] = (real)sin(angle);
        y[n * dim + i + (flip ? 0 : half)] = (real)cos(angle);
    }
}

#else
#include "core/ops/lowering.h"

#include <assert.h>
#include <math.h>

static bool infer(struct at_node *n, char *why, size_t size)
{
    int32_t dim = n->attr.i[0];
    if (n->in[0]->shape.rank != 1 || n->in[0]->dtype != AT_F32)
        return at_infer_fail(why, size, "t must be (N), real");
    if (dim < 2 || dim % 2)
        return at_infer_fail(why, size, "the dimension %d must be even and positive", dim);
    if (!(n->attr.f[0] < (float)(dim / 2)))
        return at_infer_fail(why, size, "the shift %g must be below half the dimension", (double)n->attr.f[0]);
    n->shape = AT_SHAPE(n->in[0]->shape.dim[0], dim);
    n->dtype = AT_F32;
    return true;
}

#define POWERS 12

struct push {
    uint64_t t, y;
    uint32_t n, half, flip, pad;
    float power[POWERS][2];
};
static_assert(sizeof(struct push) == 128, "shaders/sinusoid.comp");

static bool lower(struct at_lower *l)
{
    const struct at_node *n = l->node;
    int32_t half = n->attr.i[0] / 2;
    if (half >= 1 << POWERS)
        return at_fail(l->log, AT_ERROR_FAILED, "sinusoid: a dimension of %d is too large for the Vulkan kernel",
                       n->attr.i[0]);
    struct push push = {.t = l->in[0],
                        .y = l->out,
                        .n = (uint32_t)n->shape.dim[0],
                        .half = (uint32_t)half,
                        .flip = n->attr.i[1] != 0};
    double slope = -9.210340371976184 / ((double)half - (double)n->attr.f[0]);
    for (int i = 0; i < POWERS; i++) {
        double power = exp(slope * (double)(1 << i));
        push.power[i][0] = (float)power;
        push.power[i][1] = (float)(power - (double)push.power[i][0]);
    }
    uint32_t constants[] = {at_lower_workgroup(l, 64)};
    return at_lower_dispatch(
        l, &(struct at_lower_dispatch_params){.kernel = "sinusoid_f32",
                                              .constants = constants,
                                              .constant_count = 1,
                                              .push = &push,
                                              .push_size = sizeof(push),
                                              .groups = at_lower_groups((uint64_t)push.n * push.half, constants[0])});
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 30);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}}, .attr = {.i = {2, 0}, .f = {0}}, .low = 0, .high = 999, .forward_only = true},
    {.in = {{1, {3}}}, .attr = {.i = {320, 1}, .f = {0}}, .low = 0, .high = 999, .forward_only = true},
    {.in = {{1, {7}}}, .attr = {.i = {130, 0}, .f = {1}}, .low = 0, .high = 999, .forward_only = true},
    {.in = {{1, {2}}}, .attr = {.i = {256, 1}, .f = {1}}, .low = -1024, .high = 1024, .forward_only = true},
};

const struct at_op at_op_sinusoid = {
    .name = "sinusoid",
    .id = AT_ID_sinusoid,
    .required = 1,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .constant = 1,
};

struct at_node *at_sinusoid(struct at_graph *g, struct at_node *t, const struct at_sinusoid_params *p)
{
    struct at_attr attr = {.i = {p->dim, p->flip}, .f = {p->shift}};
    return at_graph_append(g, &at_op_sinusoid, &t, 1, &attr, NULL);
}

#endif
