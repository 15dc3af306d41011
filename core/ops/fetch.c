// SPDX-License-Identifier: Apache-2.0
// y = x: a weight that lives in host memory (struct at_store) comes to the device, right before what uses it. Its type
// stays. It counts as cheap, so that a gradient fetches it again instead of keeping it.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(fetch)
{
    size_t size = at_dtype_size(k->node->dtype, sizeof(real));
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
    if (s.begin < s.end)
        memcpy((char *)k->out + (size_t)s.begin * size, (const char *)k->in[0] + (size_t)s.begin * size,
               (size_t)(s.end - s.begin) * size);
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    n->dtype = n->in[0]->dtype;
    if (n->dtype == AT_I32)
        return at_infer_fail(why, size, "only weights are fetched");
    return at_infer_same(n, why, size);
}

static void backward(struct at_backward *b)
{
    b->dx[0] = b->dy;
}

static bool lower(struct at_lower *l)
{
    uint64_t bytes = (uint64_t)at_shape_count(l->node->shape) * at_dtype_size(l->node->dtype, 4);
    return at_lower_copy(l, &(struct at_copy){.x = l->in[0], .y = l->out, .n = (uint32_t)((bytes + 3) / 4)});
}

static struct at_cost cost(const struct at_node *n)
{
    return (struct at_cost){0, 2 * (double)at_dtype_size(n->dtype, 4) * (double)at_shape_count(n->shape)};
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}}},
    {.in = {{2, {3, 127}}}},
    {.in = {{4, {5, 3, 3, 41}}}},
};

const struct at_op at_op_fetch = {
    .name = "fetch",
    .id = AT_ID_fetch,
    .required = 1,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .half = 1,
    .cheap = true,
};

struct at_node *at_fetch(struct at_graph *g, struct at_node *x)
{
    return at_graph_append(g, &at_op_fetch, &x, 1, NULL, NULL);
}

#endif
