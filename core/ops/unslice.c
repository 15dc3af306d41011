// SPDX-License-Identifier: Apache-2.0
// Adjoint of slice: x placed at channel `first` among `channels`, zero elsewhere. attr: i[0] first, i[1] channels.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// Channels [begin, end) of one row.
static inline void place(real *restrict y, const real *restrict x, int64_t begin, int64_t end, int64_t first,
                         int64_t count)
{
    int64_t c = begin;
    for (; c < end && c < first; c++)
        y[c] = 0;
    for (; c < end && c < first + count; c++)
        y[c] = x[c - first];
    for (; c < end; c++)
        y[c] = 0;
}

AT_HOST(unslice)
{
    const real *x = k->in[0];
    real *y = k->out;
    int64_t count = at_shape_last(k->node->in[0]->shape), first = k->node->attr.i[0], channels = k->node->attr.i[1];
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
    for (int64_t i = s.begin; i < s.end;) {
        int64_t row = i / channels, c = i % channels;
        int64_t n = channels - c < s.end - i ? channels - c : s.end - i;
        place(y + row * channels, x + row * count, c, c + n, first, count);
        i += n;
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    int64_t first = n->attr.i[0], channels = n->attr.i[1];
    at_infer_same(n, why, size);
    int64_t *last = &n->shape.dim[n->shape.rank - 1];
    if (first < 0 || first + *last > channels)
        return at_infer_fail(why, size, "%lld channels from channel %lld on do not fit into %lld", (long long)*last,
                             (long long)first, (long long)channels);
    *last = channels;
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_slice(b->g, b->dy, b->node->attr.i[0], at_shape_last(b->in[0]->shape));
}

static bool lower(struct at_lower *l)
{
    const struct at_node *n = l->node;
    uint32_t count = (uint32_t)at_shape_last(n->in[0]->shape), first = (uint32_t)n->attr.i[0];
    struct at_channels push = {.a = l->in[0],
                               .y = l->out,
                               .rows = (uint32_t)at_shape_rows(n->shape),
                               .c = (uint32_t)n->attr.i[1],
                               .from = count,
                               .lo = first,
                               .hi = first + count};
    return at_lower_channels(l, 0, &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return at_cost_elementwise(n, 0);
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}}, .attr = {.i = {4, 5}}},
    {.in = {{2, {3, 127}}}, .attr = {.i = {0, 127}}},
    {.in = {{4, {2, 3, 7, 4}}}, .attr = {.i = {4, 8}}},
    {.in = {{3, {2, 7, 79}}}, .attr = {.i = {63, 205}}},
};

const struct at_op at_op_unslice = {
    .name = "unslice",
    .id = AT_ID_unslice,
    .required = 1,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_unslice(struct at_graph *g, struct at_node *x, int64_t first, int64_t channels)
{
    struct at_attr attr = {.i = {(int32_t)first, (int32_t)channels}};
    return at_graph_append(g, &at_op_unslice, &x, 1, &attr, NULL);
}

#endif
