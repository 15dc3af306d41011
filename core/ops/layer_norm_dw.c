// SPDX-License-Identifier: Apache-2.0
// Adjoint of layer_norm with respect to gamma and beta, (2,C) = [dgamma | dbeta]: the sums of dy xhat and of dy over
// the rows. Rows are cut into chunks, whatever the threads, whose sums are added up in the end.
#include "core/ops/layer_norm.h"

#define CHUNKS 64   // at most
#define GRAIN 16384 // elements of a chunk at least

static int64_t chunks_of(int64_t rows, int64_t c)
{
    int64_t least = c < GRAIN ? GRAIN / c : 1, chunks = (rows + least - 1) / least;
    return chunks < CHUNKS ? chunks : CHUNKS;
}

#ifdef AT_KERNEL

#define BLOCK 128 // rows added up before they join the sum, against rounding

// Adds the sums over rows to part (2,c); block (2,c) is free memory.
static void sum_rows(const real *restrict dy, const real *restrict x, int64_t rows, int64_t c, real eps,
                     real *restrict block, real *restrict part)
{
    real *restrict dgamma = block, *restrict dbeta = block + c;
    memset(block, 0, (size_t)(2 * c) * sizeof(*block));
    for (int64_t row = 0; row < rows; row++) {
        struct layer_norm n = layer_norm_stats(x + row * c, c, eps);
#pragma omp simd
        for (int64_t i = 0; i < c; i++) {
            real e = dy[row * c + i];
            dgamma[i] += e * ((x[row * c + i] - n.mean) * n.rstd);
            dbeta[i] += e;
        }
    }
    for (int64_t i = 0; i < 2 * c; i++)
        part[i] += block[i];
}

AT_HOST(layer_norm_dw)
{
    const real *dy = k->in[0], *x = k->in[1];
    int64_t c = at_shape_last(k->node->shape), rows = at_shape_rows(k->node->in[1]->shape);
    int64_t chunks = chunks_of(rows, c);
    real *parts = k->scratch, *block = parts + chunks * 2 * c + k->thread * 2 * c;
    struct at_share s = at_share_of(k, chunks);
    for (int64_t chunk = s.begin; chunk < s.end; chunk++) {
        real *part = parts + chunk * 2 * c;
        memset(part, 0, (size_t)(2 * c) * sizeof(*part));
        int64_t end = rows * (chunk + 1) / chunks;
        for (int64_t row = rows * chunk / chunks; row < end; row += BLOCK)
            sum_rows(dy + row * c, x + row * c, end - row < BLOCK ? end - row : BLOCK, c, (real)k->node->attr.f[0],
                     block, part);
    }
    at_team_wait(k);
    real *y = k->out;
    s = at_share_of(k, 2 * c);
    for (int64_t i = s.begin; i < s.end; i++) {
        double total = 0;
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            total += (double)parts[chunk * 2 * c + i];
        y[i] = (real)total;
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    if (!at_shape_equal(n->in[0]->shape, n->in[1]->shape))
        return at_infer_fail(why, size, "dy and x must have one shape");
    if (!layer_norm_infer(n, 0, 0, why, size))
        return false;
    n->shape = AT_SHAPE(2, at_shape_last(n->in[1]->shape));
    return true;
}

static size_t scratch(const struct at_node *n, int threads)
{
    int64_t c = at_shape_last(n->shape);
    return (size_t)(2 * c * (chunks_of(at_shape_rows(n->in[1]->shape), c) + threads));
}

static struct at_lower_norm lowering(const struct at_node *n)
{
    return (struct at_lower_norm){.n = at_shape_rows(n->in[1]->shape),
                                  .hw = 1,
                                  .c = at_shape_last(n->shape),
                                  .groups = 1,
                                  .eps = n->attr.f[0]};
}

static size_t vulkan_scratch(const struct at_node *n)
{
    struct at_lower_norm norm = lowering(n);
    return at_lower_layer_norm_dw_scratch(&norm);
}

static bool lower(struct at_lower *l)
{
    struct at_lower_norm norm = lowering(l->node);
    norm.dy = l->in[0];
    norm.x = l->in[1];
    norm.y = l->out;
    norm.scratch = l->scratch;
    return at_lower_layer_norm_dw(l, &norm);
}

static struct at_cost cost(const struct at_node *n)
{
    return (struct at_cost){10 * (double)at_shape_count(n->in[1]->shape), at_cost_bytes(n)};
}

static const struct at_op_case cases[] = {
    {.in = {{1, {7}}, {1, {7}}}, .attr = {.f = {1e-5f}}},
    {.in = {{2, {3, 127}}, {2, {3, 127}}}, .attr = {.f = {1e-6f}}, .low = -100, .high = 100},
    {.in = {{3, {2, 205, 127}}, {3, {2, 205, 127}}}, .attr = {.f = {1e-5f}}},
    {.in = {{2, {300, 3}}, {2, {300, 3}}}, .attr = {.f = {1e-2f}}},
    {.in = {{2, {7, 324}}, {2, {7, 324}}}, .attr = {.f = {1e-5f}}},
};

const struct at_op at_op_layer_norm_dw = {
    .name = "layer_norm_dw",
    .id = AT_ID_layer_norm_dw,
    .required = 2,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_layer_norm_dw(struct at_graph *g, struct at_node *dy, struct at_node *x, float eps)
{
    struct at_attr attr = {.f = {eps}};
    return at_graph_append(g, &at_op_layer_norm_dw, (struct at_node *[]){dy, x}, 2, &attr, NULL);
}

#endif
