// SPDX-License-Identifier: Apache-2.0
#include "pipelines/ceilings.h"

#include "core/base/alloc.h"
#include "core/cpu/blas.h"
#include "core/cpu/cpu.h"
#include "core/vulkan/executor.h"
#include "core/vulkan/measure.h"

#include <string.h>
#include <time.h>

#define SIDE INT64_C(1024)
#define BYTES (INT64_C(64) << 20)
#define ROUNDS 8

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void copy_all(char *to, const char *from, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        int64_t begin = BYTES * t / threads, end = BYTES * (t + 1) / threads;
        memcpy(to + begin, from + begin, (size_t)(end - begin));
    }
}

static void multiply_all(const float *x, const float *y, float *z, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        int64_t begin = SIDE * t / threads, end = SIDE * (t + 1) / threads;
        at_sgemm(false, true, end - begin, SIDE, SIDE, 1, x + begin * SIDE, SIDE, y, SIDE, 0, z + begin * SIDE, SIDE);
    }
}

// The best of a few rounds, the first of which touches the memory.
static bool measure_cpu(struct at_device *dev, struct at_ceilings *out)
{
    int threads = at_cpu_threads(dev);
    char *block = at_calloc_aligned(2, (size_t)BYTES);
    if (!block)
        return at_fail_memory(dev->log, 2 * (size_t)BYTES);
    float *x = (float *)(void *)block, *y = x + SIDE * SIDE, *z = y + SIDE * SIDE;
    double copy = 1e30, product = 1e30;
    for (int i = 0; i < ROUNDS; i++) {
        double start = now();
        copy_all(block + BYTES, block, threads);
        double took = now() - start;
        copy = took < copy ? took : copy;
    }
    for (int i = 0; i < ROUNDS; i++) {
        double start = now();
        multiply_all(x, y, z, threads);
        double took = now() - start;
        product = took < product ? took : product;
    }
    at_free(block);
    *out = (struct at_ceilings){.copy = 2.0 * (double)BYTES / copy,
                                .product = 2.0 * (double)(SIDE * SIDE * SIDE) / product};
    return true;
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
