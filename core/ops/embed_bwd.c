// SPDX-License-Identifier: Apache-2.0
// Adjoint of embed: the rows of dy (..,D) added up at their ids in a table (V,D). attr: i[0] V.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

static inline void add_row(real *restrict y, const real *restrict x, int64_t n)
{
    for (int64_t c = 0; c < n; c++)
        y[c] += x[c];
}

// A thread owns columns of the table if there are enough of them, else rows; it adds in the order of the ids.
AT_HOST(embed_bwd)
{
    const real *dy = k->in[0];
    const int32_t *ids = k->in[1];
    real *table = k->out;
    int64_t rows = k->node->shape.dim[0], width = k->node->shape.dim[1], count = at_shape_count(k->node->in[1]->shape);
    struct at_share r = {0, rows}, c = {0, width}, clear = at_share_of(k, rows);
    if (width >= 16 * (int64_t)k->threads)
        c = at_share_grain(k, width, 16);
    else
        r = at_share_of(k, rows);
    memset(table + clear.begin * width, 0, (size_t)((clear.end - clear.begin) * width) * sizeof(real));
    at_team_wait(k);
    for (int64_t i = 0; i < count; i++) {
        int64_t id = ids[i] < 0 || ids[i] >= rows ? 0 : ids[i];
        if (i + 2 < count && ids[i + 2] >= r.begin && ids[i + 2] < r.end)
            at_prefetch(table + ids[i + 2] * width + c.begin, c.end - c.begin);
        if (id >= r.begin && id < r.end)
            add_row(table + id * width + c.begin, dy + i * width + c.begin, c.end - c.begin);
    }
}

#else
#include "core/ops/lowering.h"

#include <assert.h>

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape dy = n->in[0]->shape, ids = n->in[1]->shape;
    int64_t width = at_shape_last(dy);
    dy.rank--;
    if (n->in[1]->dtype != AT_I32)
        return at_infer_fail(why, size, "the ids must be integers");
    if (n->attr.i[0] < 1)
        return at_infer_fail(why, size, "a table of %d rows", n->attr.i[0]);
    if (!at_shape_equal(dy, ids))
        return at_infer_fail(why, size, "the ids must have the shape of dy without its last dimension");
    n->shape = AT_SHAPE(n->attr.i[0], width);
    n->dtype = n->in[0]->dtype;
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_embed(b->g, b->dy, b->in[1]);
}

struct push {
    uint64_t dy, ids, table;
    uint32_t count, width, limit, pad;
};
static_assert(sizeof(struct push) == 40, "shaders/embed_bwd.comp");

// Zeros the table, then sums where ids are.
static bool lower(struct at_lower *l)
{
    struct push push = {.dy = l->in[0],
                        .ids = l->in[1],
                        .table = l->out,
                        .count = at_lower_count(l->node->in[1]->shape),
                        .width = (uint32_t)l->node->shape.dim[1],
                        .limit = (uint32_t)l->node->shape.dim[0]};
    uint32_t constants[] = {at_lower_workgroup(l, push.width < 256 ? 64 : 256)};
    struct at_lower_map zero = {AT_MAP_FILL, .y = l->out, .n = at_lower_count(l->node->shape)};
    if (!at_lower_elementwise(l, &zero))
        return false;
    at_lower_barrier(l);
    return at_lower_dispatch(l, &(struct at_lower_dispatch_params){.kernel = "embed_bwd_f32",
                                                                   .constants = constants,
                                                                   .constant_count = 1,
                                                                   .push = &push,
                                                                   .push_size = sizeof(push),
                                                                   .groups = push.count});
}

static struct at_cost cost(const struct at_node *n)
{
    double count = (double)at_shape_count(n->in[0]->shape);
    return (struct at_cost){count, at_cost_bytes(n)};
}

static const struct at_op_case cases[] = {
    {.in = {{2, {1, 1}}, {1, {1}}}, .attr = {.i = {1}}, .ints = 2, .limit = 1},
    {.in = {{3, {3, 5, 65}}, {2, {3, 5}}}, .attr = {.i = {7}}, .ints = 2, .limit = 7},
    {.in = {{2, {205, 3}}, {1, {205}}}, .attr = {.i = {127}}, .ints = 2, .limit = 127},
    {.in = {{3, {2, 7, 33}}, {2, {2, 7}}}, .attr = {.i = {3}}, .ints = 2, .limit = 9}, // ids outside the table
    {.in = {{2, {37, 300}}, {1, {37}}}, .attr = {.i = {9}}, .ints = 2, .limit = 7}, // rows that no id names
};

const struct at_op at_op_embed_bwd = {
    .name = "embed_bwd",
    .id = AT_ID_embed_bwd,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .constant = 2,
};

struct at_node *at_embed_bwd(struct at_graph *g, struct at_node *dy, struct at_node *ids, int64_t rows)
{
    struct at_attr attr = {.i = {(int32_t)rows}};
    return at_graph_append(g, &at_op_embed_bwd, (struct at_node *[]){dy, ids}, 2, &attr, NULL);
}

#endif
