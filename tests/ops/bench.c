// SPDX-License-Identifier: Apache-2.0
// Speed of each op at sizes of real models, beside what the machine can do at most: a large copy and a large product.
#include "tests/ops/ops.h"

#include "core/base/alloc.h"
#include "core/cpu/blas.h"
#include "core/cpu/cpu.h"
#include "tests/harness.h"
#include "tests/ops/device.h"
#include "tests/ops/trial.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECONDS 0.2 // of measuring, at least

struct bench {
    const char *op;
    struct at_op_case c;
};

// Layers of a UNet at batch 2 and its optimiser; every other op runs its largest test case.
static const struct bench benches[] = {
    {"matmul", {.in = {{2, {1024, 1024}}, {2, {1024, 1024}}}, .attr = {.i = {0, 1}, .f = {1}}}},
    {"matmul", {.in = {{3, {2, 1024, 320}}, {2, {1280, 320}}}, .attr = {.i = {0, 1}, .f = {1}}}},
    {"conv2d", {.in = {{4, {2, 32, 32, 128}}, {4, {128, 3, 3, 128}}}, .attr = {.i = {1, 1, 1, 1, 1}}}},
    {"conv2d", {.in = {{4, {2, 64, 64, 4}}, {4, {128, 3, 3, 4}}}, .attr = {.i = {1, 1, 1, 1, 1}}}},
    {"conv2d", {.in = {{4, {2, 32, 32, 320}}, {4, {320, 1, 1, 320}}}, .attr = {.i = {1}}}},
    {"attention",
     {.in = {{3, {2, 1024, 320}}, {3, {2, 1024, 320}}, {3, {2, 1024, 320}}}, .attr = {.i = {8}, .f = {0.158f}}}},
    {"attention",
     {.in = {{3, {2, 1024, 320}}, {3, {2, 77, 320}}, {3, {2, 77, 320}}}, .attr = {.i = {8}, .f = {0.158f}}}},
    {"group_norm", {.in = {{4, {2, 64, 64, 128}}, {1, {128}}, {1, {128}}}, .attr = {.i = {32}, .f = {1e-5f}}}},
    {"group_norm", {.in = {{4, {2, 64, 64, 128}}, {1, {128}}, {1, {128}}}, .attr = {.i = {32, 1}, .f = {1e-5f}}}},
    {"layer_norm", {.in = {{2, {2048, 768}}, {1, {768}}, {1, {768}}}, .attr = {.f = {1e-5f}}}},
    {"act", {.in = {{1, {4000000}}}, .attr = {.i = {1}}}},
    {"act", {.in = {{1, {4000000}}}, .attr = {.i = {2}}}},
    {"act_bwd", {.in = {{1, {4000000}}, {1, {4000000}}}, .attr = {.i = {1}}}},
    {"geglu", {.in = {{2, {2048, 2560}}}}},
    {"geglu_bwd", {.in = {{2, {2048, 1280}}, {2, {2048, 2560}}}}},
    {"add", {.in = {{1, {4000000}}, {1, {4000000}}}}},
    {"mul", {.in = {{1, {4000000}}, {1, {4000000}}}}},
    {"scale", {.in = {{1, {4000000}}}, .attr = {.f = {0.5f, 1}}}},
    {"accumulate", {.in = {{1, {4000000}}, {1, {4000000}}}}},
    {"bias", {.in = {{3, {2, 4096, 320}}, {1, {320}}}}},
    {"bias", {.in = {{3, {2, 4096, 320}}, {2, {2, 320}}}}},
    {"sum_rows", {.in = {{3, {2, 4096, 320}}}}},
    {"sum_rows", {.in = {{3, {2, 4096, 320}}}, .attr = {.i = {1}}}},
    {"upsample", {.in = {{4, {2, 32, 32, 320}}}, .attr = {.i = {64, 64}}}},
    {"upsample_bwd", {.in = {{4, {2, 64, 64, 320}}}, .attr = {.i = {32, 32}}}},
    {"concat", {.in = {{2, {4096, 320}}, {2, {4096, 320}}}}},
    {"slice", {.in = {{2, {4096, 640}}}, .attr = {.i = {320, 320}}}},
    {"sq_err", {.in = {{4, {2, 256, 256, 4}}, {4, {2, 256, 256, 4}}}}},
    {"adamw_moments", {.in = {{2, {2, 4000000}}, {1, {4000000}}, {1, {8}}}, .low = 0.1f, .high = 0.9f}},
    {"adamw", {.in = {{1, {4000000}}, {2, {2, 4000000}}, {1, {8}}}, .low = 0.1f, .high = 0.9f}},
    {"ema", {.in = {{1, {4000000}}, {1, {4000000}}, {1, {1}}}, .low = 0.1f, .high = 0.9f}},
    {"sq_norm", {.in = {{1, {4000000}}}}},
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Prints the copy's GB/s (read plus write) and the product's GFLOP/s with all threads of the CPU device.
static void print_ceilings(int threads)
{
    const int64_t n = 1024, bytes = (int64_t)64 << 20;
    char *a = at_calloc((size_t)bytes, 1), *b = at_calloc((size_t)bytes, 1);
    float *x = at_calloc((size_t)(n * n), 4), *y = at_calloc((size_t)(n * n), 4), *z = at_calloc((size_t)(n * n), 4);
    double copy = 1e30, product = 1e30;
    for (int rep = 0; a && b && x && y && z && rep < 8; rep++) {
        double start = now();
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int t = 0; t < threads; t++)
            memcpy(b + bytes * t / threads, a + bytes * t / threads,
                   (size_t)(bytes * (t + 1) / threads - bytes * t / threads));
        double middle = now();
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int t = 0; t < threads; t++) {
            int64_t r0 = n * t / threads, r1 = n * (t + 1) / threads;
            at_sgemm(false, true, r1 - r0, n, n, 1, x + r0 * n, n, y, n, 0, z + r0 * n, n);
        }
        double end = now();
        copy = middle - start < copy ? middle - start : copy;
        product = end - middle < product ? end - middle : product;
    }
    printf("ceilings with %d threads: copy %.1f GB/s, sgemm %.1f GFLOP/s (%s)\n", threads, 2e-9 * (double)bytes / copy,
           2e-9 * (double)(n * n * n) / product, at_blas_name());
    at_free(a);
    at_free(b);
    at_free(x);
    at_free(y);
    at_free(z);
}

static bool bench_case(struct at_device *dev, const struct at_op *op, const struct at_op_case *c)
{
    struct ops_trial *t = ops_trial_create(dev, op, c, &(struct ops_trial_params){0}, dev->log);
    struct ops_data data = {0};
    bool ok = t && ops_data_init(&data, c, at_shape_count(t->y->shape), 1) && ops_trial_run(t, &data);
    double best = 1e30;
    for (double start = now(); ok && now() - start < SECONDS;) {
        double begin = now();
        ok = at_exec_run(t->exec, 0);
        double took = now() - begin;
        best = took < best ? took : best;
    }
    char text[OPS_NAME];
    if (ok) {
        struct at_cost cost = op->cost(t->y);
        printf("%10.1f us %9.1f GFLOP/s %8.1f GB/s  %s\n", best * 1e6, cost.flops / best * 1e-9,
               cost.bytes / best * 1e-9, ops_case_text(op, c, 1, text));
    } else {
        printf("FAIL %s\n", ops_case_text(op, c, 1, text));
    }
    ops_data_finish(&data);
    ops_trial_destroy(&t);
    return ok;
}

static int64_t case_size(const struct at_op_case *c)
{
    int64_t n = 0;
    for (int i = 0; i < AT_ARITY; i++)
        n += c->in[i].rank ? at_shape_count(c->in[i]) : 0;
    return n;
}

static bool bench_op(struct at_device *dev, const struct at_op *op)
{
    bool ok = true, listed = false;
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
        if (strcmp(benches[i].op, op->name) != 0)
            continue;
        listed = true;
        ok = bench_case(dev, op, &benches[i].c) && ok;
    }
    if (listed || op->alias || !op->case_count)
        return ok;
    const struct at_op_case *largest = &op->cases[0];
    for (int k = 1; k < op->case_count; k++)
        if (case_size(&op->cases[k]) > case_size(largest))
            largest = &op->cases[k];
    return bench_case(dev, op, largest);
}

int ops_bench(const char *kind, const char *only, struct at_log *log)
{
    struct at_device *dev = ops_device_open(kind, log);
    if (!dev)
        return log->error == AT_ERROR_USAGE ? 2 : AT_SKIP;
    printf("%s: %s\n", dev->kind, dev->name);
    if (strcmp(kind, "cpu") == 0)
        print_ceilings(at_cpu_threads(dev));
    bool ok = true;
    for (int i = 0; i < AT_OP_COUNT; i++)
        if (!only || strcmp(only, at_ops[i]->name) == 0)
            ok = bench_op(dev, at_ops[i]) && ok;
    at_device_close(&dev);
    return ok ? 0 : 1;
}
