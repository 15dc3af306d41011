// SPDX-License-Identifier: Apache-2.0
// Column sums: x read as (outer, middle, C), summed over the middle. attr: i[0] per sample: (N,..,C) -> (N,C) with
// outer = N; else (..,C) -> (C) with outer = 1.
//
// Work is cut into units of a sample, a chunk of rows and a tile of channels, whatever the threads: a unit's sums go to
// scratch, and then the chunks are added up.
#include "core/ops/build.h"
#include "core/ops/op.h"

#define TILE 512    // channels of a unit
#define CHUNKS 64   // chunks of a sample at most
#define GRAIN 32768 // elements of a chunk at least

static int64_t chunks_of(int64_t middle, int64_t c)
{
    int64_t rows = GRAIN / (c < TILE ? c : TILE), chunks = (middle + rows - 1) / rows;
    return chunks < CHUNKS ? chunks : CHUNKS;
}

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

#define BLOCK 128 // rows added up before they join the sum, against rounding

// sum[c] = sum over rows of x[row][c], c < width <= TILE.
static void sum_tile(real *restrict sum, const real *restrict x, int64_t rows, int64_t stride, int64_t width)
{
    real block[TILE];
    memset(sum, 0, (size_t)width * sizeof(*sum));
    for (int64_t row = 0; row < rows; row += BLOCK) {
        int64_t end = row + BLOCK < rows ? row + BLOCK : rows;
        memset(block, 0, (size_t)width * sizeof(*block));
        int64_t i = row;
        for (; i + 4 <= end; i += 4) {
            const real *restrict p = x + i * stride;
            for (int64_t ahead = 4; ahead < 8; ahead++)
                at_prefetch(p + ahead * stride, width);
            for (int64_t c = 0; c < width; c++)
                block[c] += (p[c] + p[stride + c]) + (p[2 * stride + c] + p[3 * stride + c]);
        }
        for (; i < end; i++)
            for (int64_t c = 0; c < width; c++)
                block[c] += x[i * stride + c];
        for (int64_t c = 0; c < width; c++)
            sum[c] += block[c];
    }
}

// The same for narrow dense rows, several of which are read as one.
static void sum_narrow(real *restrict sum, const real *restrict x, int64_t rows, int64_t c)
{
    real wide[TILE];
    int64_t fold = 128 / c, whole = rows / fold;
    sum_tile(wide, x, whole, fold * c, fold * c);
    sum_tile(sum, x + whole * fold * c, rows - whole * fold, c, c);
    for (int64_t i = 0; i < fold; i++)
        for (int64_t j = 0; j < c; j++)
            sum[j] += wide[i * c + j];
}

AT_HOST(sum_rows)
{
    const struct at_node *node = k->node;
    int64_t c = at_shape_last(node->shape), outer = at_shape_rows(node->shape);
    int64_t middle = at_shape_rows(node->in[0]->shape) / outer;
    int64_t chunks = chunks_of(middle, c), tiles = (c + TILE - 1) / TILE;
    real *part = chunks > 1 ? k->scratch : k->out; // (outer, chunks, c)
    struct at_share s = at_share_of(k, outer * chunks * tiles);
    for (int64_t unit = s.begin; unit < s.end; unit++) {
        int64_t first = unit % tiles * TILE, piece = unit / tiles, chunk = piece % chunks, n = piece / chunks;
        int64_t begin = middle * chunk / chunks, rows = middle * (chunk + 1) / chunks - begin;
        const real *x = (const real *)k->in[0] + (n * middle + begin) * c + first;
        real *sum = part + piece * c + first;
        if (c < 64)
            sum_narrow(sum, x, rows, c);
        else
            sum_tile(sum, x, rows, c, c - first < TILE ? c - first : TILE);
    }
    if (chunks == 1)
        return;
    at_team_wait(k);
    real *y = k->out;
    s = at_share_of(k, outer * c);
    for (int64_t i = s.begin; i < s.end; i++) {
        const real *p = part + i / c * chunks * c + i % c;
        double total = 0;
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            total += (double)p[chunk * c];
        y[i] = (real)total;
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    struct at_shape x = n->in[0]->shape;
    n->dtype = n->in[0]->dtype;
    if (n->attr.i[0] && x.rank < 2)
        return at_infer_fail(why, size, "sums per sample need x (N,..,C)");
    n->shape = n->attr.i[0] ? AT_SHAPE(x.dim[0], at_shape_last(x)) : AT_SHAPE(at_shape_last(x));
    return true;
}

static size_t scratch(const struct at_node *n, int threads)
{
    (void)threads;
    int64_t c = at_shape_last(n->shape), outer = at_shape_rows(n->shape);
    int64_t chunks = chunks_of(at_shape_rows(n->in[0]->shape) / outer, c);
    return chunks > 1 ? (size_t)(outer * chunks * c) : 0;
}

static size_t vulkan_scratch(const struct at_node *n)
{
    int64_t outer = at_shape_rows(n->shape);
    return at_lower_columns_scratch(outer, at_shape_rows(n->in[0]->shape) / outer, at_shape_last(n->shape));
}

static bool lower(struct at_lower *l)
{
    uint32_t outer = (uint32_t)at_shape_rows(l->node->shape);
    struct at_lower_columns columns = {.x = l->in[0],
                                       .y = l->out,
                                       .scratch = l->scratch,
                                       .outer = outer,
                                       .middle = (uint32_t)at_shape_rows(l->node->in[0]->shape) / outer,
                                       .c = (uint32_t)at_shape_last(l->node->shape)};
    return at_lower_columns(l, &columns);
}

static struct at_cost cost(const struct at_node *n)
{
    return (struct at_cost){(double)at_shape_count(n->in[0]->shape), at_cost_bytes(n)};
}

static const struct at_op_case cases[] = {
    {.in = {{1, {7}}}},
    {.in = {{2, {205, 127}}}, .low = 0, .high = 100},
    {.in = {{4, {2, 9, 11, 3}}}},
    {.in = {{2, {20011, 5}}}},
    {.in = {{2, {150, 1029}}}},
    {.in = {{2, {3, 7}}}, .attr = {.i = {1}}},
    {.in = {{4, {3, 33, 31, 65}}}, .attr = {.i = {1}}},
    {.in = {{3, {2, 205, 1}}}, .attr = {.i = {1}}},
};

const struct at_op at_op_sum_rows = {
    .name = "sum_rows",
    .id = AT_ID_sum_rows,
    .required = 1,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_sum_rows(struct at_graph *g, struct at_node *x, bool per_sample)
{
    return at_graph_append(g, &at_op_sum_rows, &x, 1, &(struct at_attr){.i = {per_sample}}, NULL);
}

#endif
