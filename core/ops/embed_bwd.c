// SPDX-License-Identifier: Apache-2.0
// Adjoint of embed: the rows of dy (..,D) added up at their ids in a table (V,D). attr: i[0] V.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

// The table is written once, row by row; beyond this many reals past the caches.
#define LARGE (4 << 20)

static inline int64_t id_of(const int32_t *ids, int64_t i, int64_t rows)
{
    return ids[i] < 0 || ids[i] >= rows ? 0 : ids[i];
}

// Sorts the places 0 .. count-1 by their id, stably: those of row r become order[end[r - 1] .. end[r]), end[-1] = 0.
static void sort_places(const int32_t *ids, int64_t count, int64_t rows, int32_t *end, int32_t *order)
{
    memset(end, 0, (size_t)rows * sizeof(*end));
    for (int64_t i = 0; i < count; i++)
        end[id_of(ids, i, rows)]++;
    int32_t total = 0;
    for (int64_t r = 0; r < rows; r++) {
        int32_t here = end[r];
        end[r] = total;
        total += here;
    }
    for (int64_t i = 0; i < count; i++)
        order[end[id_of(ids, i, rows)]++] = (int32_t)i;
}

static inline void add_row(real *restrict y, const real *restrict x, int64_t n)
{
#pragma omp simd
    for (int64_t c = 0; c < n; c++)
        y[c] += x[c];
}

// A thread owns columns of the table if there are enough of them, else rows; it adds in the order of the places.
AT_HOST(embed_bwd)
{
    const real *dy = k->in[0];
    int64_t rows = k->node->shape.dim[0], width = k->node->shape.dim[1], count = at_shape_count(k->node->in[1]->shape);
    real *sum = (real *)k->scratch + k->thread * width;
    int32_t *end = (int32_t *)(void *)((real *)k->scratch + k->threads * width), *order = end + rows;
    if (k->thread == 0)
        sort_places(k->in[1], count, rows, end, order);
    at_team_wait(k);
    struct at_share r = {0, rows}, c = {0, width};
    if (width >= 16 * (int64_t)k->threads)
        c = at_share_grain(k, width, 16);
    else
        r = at_share_of(k, rows);
    int64_t n = c.end - c.begin;
    bool large = rows * width > LARGE;
    for (int64_t row = r.begin; row < r.end; row++) {
        int64_t first = row ? end[row - 1] : 0, last = end[row];
        const real *from = first < last ? dy + order[first] * width + c.begin : NULL;
        real *to = (real *)k->out + row * width + c.begin;
        if (last - first > 1) {
            memcpy(sum, from, (size_t)n * sizeof(real));
            for (int64_t i = first + 1; i < last; i++)
                add_row(sum, dy + order[i] * width + c.begin, n);
            from = sum;
        }
        if (large)
            at_stream(to, from, n);
        else if (from)
            memcpy(to, from, (size_t)n * sizeof(real));
        else
            memset(to, 0, (size_t)n * sizeof(real));
    }
    at_stream_end();
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

// A row for each thread, then the sorted places as integers, which are no larger than reals.
static size_t scratch(const struct at_node *n, int threads)
{
    return (size_t)(threads * n->shape.dim[1] + n->shape.dim[0] + at_shape_count(n->in[1]->shape));
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
    {.in = {{2, {5, 70}}, {1, {5}}}, .attr = {.i = {60000}}, .ints = 2, .limit = 60000}, // more than caches hold
};

const struct at_op at_op_embed_bwd = {
    .name = "embed_bwd",
    .id = AT_ID_embed_bwd,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .scratch = scratch,
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
