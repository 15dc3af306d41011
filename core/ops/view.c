// SPDX-License-Identifier: Apache-2.0
// The same elements, or some of them, under another shape: an alias of input 0, so nothing runs.
// attr: i[0], i[1] low 31 bits and the rest of the element offset.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(view)
{
    (void)k;
}

#else

static int64_t offset_of(const struct at_node *n)
{
    return n->attr.i[1] * (INT64_C(1) << 31) + n->attr.i[0];
}

static bool infer(struct at_node *n, char *why, size_t size)
{
    int64_t offset = offset_of(n), total = at_shape_count(n->in[0]->shape), count = 1;
    if (n->shape.rank < 1 || n->shape.rank > AT_RANK)
        return at_infer_fail(why, size, "the view needs 1 to %d dimensions", AT_RANK);
    for (int i = 0; i < n->shape.rank; i++) {
        int64_t d = n->shape.dim[i];
        if (d <= 0 || d > total / count)
            return at_infer_fail(why, size, "dimension %d of the view is %lld, but the input has %lld elements", i,
                                 (long long)d, (long long)total);
        count *= d;
    }
    if (offset < 0 || offset > total - count)
        return at_infer_fail(why, size, "%lld elements from element %lld on are not inside the input's %lld",
                             (long long)count, (long long)offset, (long long)total);
    n->dtype = n->in[0]->dtype;
    return true;
}

// A part's gradient is zero outside the part.
static void backward(struct at_backward *b)
{
    int64_t count = at_shape_count(b->dy->shape), total = at_shape_count(b->in[0]->shape);
    struct at_node *dx = b->dy;
    if (count != total)
        dx = at_unslice(b->g, at_view(b->g, dx, 0, AT_SHAPE(count)), offset_of(b->node), total);
    b->dx[0] = at_view(b->g, dx, 0, b->in[0]->shape);
}

static struct at_cost cost(const struct at_node *n)
{
    (void)n;
    return (struct at_cost){0, 0};
}

static const struct at_op_case cases[] = {
    {.in = {{1, {6}}}, .shape = {2, {2, 3}}},
    {.in = {{4, {2, 3, 5, 7}}}, .shape = {2, {6, 35}}},
    {.in = {{2, {3, 127}}}, .shape = {1, {381}}},
    // A part of the input: 2 x 64 elements from 128 on.
    {.in = {{2, {5, 64}}}, .attr = {.i = {128}}, .shape = {2, {2, 64}}},
};

const struct at_op at_op_view = {
    .name = "view",
    .id = AT_ID_view,
    .required = 1,
    .infer = infer,
    .backward = backward,
    .cost = cost,
    AT_CASES(cases),
    .alias = true,
};

struct at_node *at_view(struct at_graph *g, struct at_node *x, int64_t offset, struct at_shape shape)
{
    struct at_attr attr = {.i = {(int32_t)(offset & 0x7fffffff), (int32_t)(offset >> 31)}};
    return at_graph_append(g, &at_op_view, &x, 1, &attr, &shape);
}

#endif
