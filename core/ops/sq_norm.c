// SPDX-License-Identifier: Apache-2.0
// Sum of squares -> (1).
#include "core/ops/build.h"
#include "core/ops/op.h"

#define CHUNKS 1024 // at most; fixed, so that the result does not depend on the threads
#define GRAIN 16384 // elements of a chunk at least

#ifdef AT_KERNEL
#include "core/cpu/kernel.h"

AT_HOST(sq_norm)
{
    const real *x = k->in[0];
    real *part = k->scratch;
    int64_t count = at_shape_count(k->node->in[0]->shape);
    int64_t chunks = count < (int64_t)GRAIN * CHUNKS ? (count + GRAIN - 1) / GRAIN : CHUNKS;
    struct at_share s = at_share_of(k, chunks);
    for (int64_t chunk = s.begin; chunk < s.end; chunk++) {
        int64_t end = count * (chunk + 1) / chunks;
        double total = 0;
        for (int64_t i = count * chunk / chunks; i < end; i += GRAIN) {
            int64_t stop = i + GRAIN < end ? i + GRAIN : end;
            real sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t j = i; j < stop; j++)
                sum += x[j] * x[j];
            total += (double)sum;
        }
        part[chunk] = (real)total;
    }
    at_team_wait(k);
    if (k->thread == 0) {
        double total = 0;
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            total += (double)part[chunk];
        *(real *)k->out = (real)total;
    }
}

#else
#include "core/ops/lowering.h"

static bool infer(struct at_node *n, char *why, size_t size)
{
    at_infer_same(n, why, size);
    n->shape = AT_SHAPE(1);
    return true;
}

static size_t scratch(const struct at_node *n, int threads)
{
    (void)n;
    (void)threads;
    return CHUNKS;
}

static size_t vulkan_scratch(const struct at_node *n)
{
    return at_lower_sum_scratch(1, at_shape_count(n->in[0]->shape), false);
}

static bool lower(struct at_lower *l)
{
    struct at_lower_sum sum = {.kind = AT_SUM_SQ,
                               .a = l->in[0],
                               .y = l->out,
                               .scratch = l->scratch,
                               .samples = 1,
                               .count = at_lower_count(l->node->in[0]->shape),
                               .scale = 1};
    return at_lower_sum(l, &sum);
}

static struct at_cost cost(const struct at_node *n)
{
    return (struct at_cost){2 * (double)at_shape_count(n->in[0]->shape), at_cost_bytes(n)};
}

static const struct at_op_case cases[] = {
    {.in = {{1, {1}}}},
    {.in = {{2, {3, 127}}}, .low = -1e6f, .high = 1e6f},
    {.in = {{1, {100003}}}, .low = 0, .high = 1e-3f},
};

const struct at_op at_op_sq_norm = {
    .name = "sq_norm",
    .id = AT_ID_sq_norm,
    .required = 1,
    .infer = infer,
    .backward = AT_NO_BACKWARD,
    .scratch = scratch,
    .vulkan = lower,
    .vulkan_scratch = vulkan_scratch,
    .cost = cost,
    AT_CASES(cases),
};

struct at_node *at_sq_norm(struct at_graph *g, struct at_node *x)
{
    return at_graph_append(g, &at_op_sq_norm, &x, 1, NULL, NULL);
}

#endif
