// SPDX-License-Identifier: Apache-2.0
// Row lookup: table (V,D), which may be of halves, ids (..) integers in 0 .. V-1 -> (..,D). An id outside is read as 0.
#include "core/ops/build.h"
#include "core/ops/op.h"

#ifdef AT_KERNEL
#include "core/cpu/half.h"

// y (n) from element `at` of the table on.
static void copy_row(real *restrict y, const void *table, enum at_dtype type, int64_t at, int64_t n)
{
    const uint16_t *restrict h = at_element(table, type, at);
    if (type == AT_F16)
        for (int64_t i = 0; i < n; i++)
            y[i] = at_half_f16(h[i]);
    else if (type == AT_BF16)
        for (int64_t i = 0; i < n; i++)
            y[i] = at_half_bf16(h[i]);
    else
        memcpy(y, h, (size_t)n * sizeof(real));
}

AT_HOST(embed)
{
    const int32_t *restrict ids = k->in[1];
    real *restrict y = k->out;
    int64_t rows = k->node->in[0]->shape.dim[0], width = k->node->in[0]->shape.dim[1];
    struct at_share s = at_share_grain(k, at_shape_count(k->node->shape), 64);
    for (int64_t i = s.begin; i < s.end;) {
        int64_t c = i % width, id = ids[i / width], n = width - c;
        if (n > s.end - i)
            n = s.end - i;
        if (id < 0 || id >= rows)
            id = 0;
        copy_row(y + i, k->in[0], k->node->in[0]->dtype, id * width + c, n);
        i += n;
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape table = n->in[0]->shape, ids = n->in[1]->shape;
    if (table.rank != 2)
        return at_infer_fail(why, size, "the table must be (V,D)");
    if (n->in[1]->dtype != AT_I32)
        return at_infer_fail(why, size, "the ids must be integers");
    if (ids.rank == AT_RANK)
        return at_infer_fail(why, size, "the ids have too many dimensions");
    n->shape = ids;
    n->shape.dim[n->shape.rank++] = table.dim[1];
    return true;
}

static void backward(struct at_backward *b)
{
    b->dx[0] = at_embed_bwd(b->g, b->dy, b->in[1], b->in[0]->shape.dim[0]);
}

static bool lower(struct at_lower *l)
{
    const struct at_node *table = l->node->in[0];
    struct at_gather push = {.x = l->in[0],
                             .ids = l->in[1],
                             .y = l->out,
                             .rows = (uint32_t)at_shape_rows(l->node->shape),
                             .width = (uint32_t)table->shape.dim[1],
                             .limit = (uint32_t)table->shape.dim[0]};
    return at_lower_gather(l, AT_GATHER_READ, table->dtype, &push);
}

static struct at_cost cost(const struct at_node *n)
{
    return (struct at_cost){0, (4.0 + (double)at_dtype_size(n->in[0]->dtype, 4)) * (double)at_shape_count(n->shape) +
                                   4.0 * (double)at_shape_count(n->in[1]->shape)};
}

static const struct at_op_case cases[] = {
    {.in = {{2, {1, 1}}, {1, {1}}}, .ints = 2, .limit = 1},
    {.in = {{2, {7, 65}}, {2, {3, 5}}}, .ints = 2, .limit = 7},
    {.in = {{2, {127, 3}}, {1, {205}}}, .ints = 2, .limit = 127},
    {.in = {{2, {3, 33}}, {2, {2, 7}}}, .ints = 2, .limit = 9}, // ids outside the table
    {.in = {{2, {11, 36}}, {1, {7}}}, .ints = 2, .limit = 11},
    {.in = {{2, {7, 65}}, {2, {3, 5}}}, .ints = 2, .limit = 7, .f16 = 1},
    {.in = {{2, {11, 36}}, {1, {7}}}, .ints = 2, .limit = 11, .bf16 = 1},
    {.in = {{2, {11, 36}}, {1, {7}}}, .ints = 2, .limit = 13, .f16 = 1, .low = -7e-5f, .high = 7e-5f}, // subnormal
    {.in = {{2, {3, 33}}, {2, {2, 7}}}, .ints = 2, .limit = 9, .bf16 = 1},
};

const struct at_op at_op_embed = {
    .name = "embed",
    .id = AT_ID_embed,
    .required = 2,
    .infer = infer,
    .backward = backward,
    .vulkan = lower,
    .cost = cost,
    AT_CASES(cases),
    .constant = 2,
    .half = 1,
};

struct at_node *at_embed(struct at_graph *g, struct at_node *table, struct at_node *ids)
{
    return at_graph_append(g, &at_op_embed, (struct at_node *[]){table, ids}, 2, NULL, NULL);
}

#endif
