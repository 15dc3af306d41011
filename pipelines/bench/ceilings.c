// SPDX-License-Identifier: Apache-2.0
#include "pipelines/bench/ceilings.h"

#include "core/base/alloc.h"
#include "core/base/clock.h"
#include "core/cpu/blas.h"
#include "core/cpu/cpu.h"
#include "core/vulkan/executor.h"
#include "core/vulkan/measure.h"

#include <math.h>
#include <string.h>

#define SIDE INT64_C(1024)
#define BYTES (INT64_C(64) << 20)
#define ROUNDS 16

static void copy_all(char *to, const char *from, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        int64_t begin = BYTES * t / threads, end = BYTES * (t + 1) / threads;
        memcpy(to + begin, from + begin, (size_t)(end - begin));
    }
}

void at_ceilings_product(const struct at_product_shape *p, int threads, const float *a, const float *b, float *c)
{
    bool rows = p->m >= p->n;
    int64_t lda = p->ta ? p->m : p->k, ldb = p->tb ? p->k : p->n;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        int64_t side = rows ? p->m : p->n, begin = side * t / threads, count = side * (t + 1) / threads - begin;
        const float *from_a = rows ? a + begin * (p->ta ? 1 : lda) : a;
        const float *from_b = rows ? b : b + begin * (p->tb ? ldb : 1);
        if (count)
            at_sgemm(p->ta, p->tb, rows ? count : p->m, rows ? p->n : count, p->k, 1, from_a, lda, from_b, ldb, 0,
                     c + begin * (rows ? p->n : 1), p->n);
    }
}

// FLOPs of the multiply-adds of all threads.
static double add_all(struct at_device *dev, int threads)
{
    double flops = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : flops)
    for (int t = 0; t < threads; t++)
        flops += at_cpu_fma(dev);
    return flops;
}

// The best of a few rounds, the first of which touches the memory.
static bool measure_cpu(struct at_device *dev, struct at_ceilings *out)
{
    static const struct at_product_shape cube = {.tb = true, .m = SIDE, .n = SIDE, .k = SIDE};
    int threads = at_cpu_threads(dev);
    char *block = at_calloc_aligned(2, (size_t)BYTES);
    if (!block)
        return at_fail_memory(dev->log, 2 * (size_t)BYTES);
    float *x = (float *)(void *)block, *y = x + SIDE * SIDE, *z = y + SIDE * SIDE;
    *out = (struct at_ceilings){0};
    memset(block, 1, (size_t)BYTES); // memory that was never written is one page of zeros
    for (int i = 0; i < ROUNDS; i++) {
        double start = at_clock();
        copy_all(block + BYTES, block, threads);
        out->copy = fmax(out->copy, 2.0 * (double)BYTES / (at_clock() - start));
    }
    for (int i = 0; i < ROUNDS; i++) {
        double start = at_clock(), flops = add_all(dev, threads);
        out->fma = fmax(out->fma, flops / (at_clock() - start));
    }
    for (int i = 0; i < ROUNDS && at_blas_load(i ? NULL : dev->log); i++) {
        double start = at_clock();
        at_ceilings_product(&cube, threads, x, y, z);
        out->product = fmax(out->product, 2.0 * (double)(SIDE * SIDE * SIDE) / (at_clock() - start));
    }
    at_free(block);
    return true;
}

double at_ceilings_seconds(const struct at_ceilings *c, const struct at_cost *cost, bool *memory)
{
    double compute = cost->flops / c->fma, move = cost->bytes / c->copy;
    if (memory)
        *memory = move >= compute;
    return fmax(compute, move);
}

bool at_ceilings_measure(struct at_device *dev, struct at_ceilings *out)
{
    struct at_vk_ceilings vk;
    if (strcmp(dev->kind, "cpu") == 0)
        return measure_cpu(dev, out);
    if (strcmp(dev->kind, "vulkan") != 0)
        return at_fail(dev->log, AT_ERROR_FAILED, "the speed of %s is not measured", dev->name);
    if (!at_vk_measure(at_vulkan_device(dev), &vk))
        return false;
    *out = (struct at_ceilings){.copy = vk.copy, .fma = vk.fma};
    return true;
}
