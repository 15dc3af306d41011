// SPDX-License-Identifier: Apache-2.0
// Channels [first, first + count) of the last dimension. attr: i[0] first, i[1] count.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(slice)
{
    const real *restrict x = k->in[0];
    real *restrict y = k->out;
    int64_t channels = at_shape_last(k->node->in[0]->shape), first = k->node->attr.i[0], count = k->node->attr.i[1];
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
    for (int64_t i = s.begin; i < s.end;) {
        int64_t row = i / count, c = i % count;
        int64_t n = count - c < s.end - i ? count - c : s.end - i;
        memcpy(y + i, x + row * channels + first + c, (size_t)n * sizeof(real));
        i += n;
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    int64_t first = n->attr.i[0], count = n->attr.i[1];
    at_infer_same(n, why, size);
    int64_t *last = &n->shape.dim[n->shape.rank - 1];
    if (first < 0 || count < 1 || first + count > *last)
        return at_infer_fail(why, size, "channels %lld .. %lld are not among the input's %lld", (long long)first,
                             (long long)(first + count - 1), (long long)*last);
    *last = count;
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_unslice(b->g, b->dy, b->node->attr.i[0], at_shape_last(b->in[0]->shape));
}

static bool lower(struct at_lower *l)
{
    const struct at_node *n = l->node;
    uint32_t count = (uint32_t)n->attr.i[1];
    struct at_channels push = {.a = l->in[0],
                               .y = l->out,
                               .rows = (uint32_t)at_shape_rows(n->shape),
                               .c = count,
                               .from = (uint32_t)at_shape_last(n->in[0]->shape),
                               .first = (uint32_t)n->attr.i[0],
                               .hi = count};
    return at_lower_channels(l, at_lower_halves_mask(l, 0, -1), &push);
}

static bool fours(const struct at_node *n)
{
    return at_fours_all(n) && n->attr.i[0] % 4 == 0;
}

static struct at_cost cost(const struct at_node *n)
{
    return (struct at_cost){0, 8.0 * (double)at_shape_count(n->shape)};
}

static const struct at_op_case cases[] = {
    {.in = {{1, {5}}}, .attr = {.i = {4, 1}}},
    {.in = {{2, {3, 127}}}, .attr = {.i = {0, 127}}},
    {.in = {{4, {2, 3, 7, 8}}}, .attr = {.i = {4, 4}}},
    {.in = {{3, {2, 7, 205}}}, .attr = {.i = {63, 79}}},
    {.in = {{3, {2, 7, 20}}}, .attr = {.i = {8, 4}}, .halves = 1},
    {.in = {{3, {2, 7, 20}}}, .attr = {.i = {4, 16}}, .halves = 1 | AT_HALVES_Y, .tolerance = AT_HALVES_ERROR},
};

const struct at_op at_op_slice = {
    .name = "slice",
    .id = AT_ID_slice,
    .required = 1,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .halves = 1 | AT_HALVES_Y,
    .fours = fours,
};

struct at_node *at_slice(struct at_graph *g, struct at_node *x, int64_t first, int64_t count)
{
    return at_graph_append(g, &at_op_slice, &x, 1, &(struct at_attr){.i = {(int32_t)first, (int32_t)count}}, NULL);
}

#endif
