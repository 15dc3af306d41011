// SPDX-License-Identifier: Apache-2.0
// What a device can do at most, measured: what benches are compared with.
#ifndef PIPELINES_BENCH_CEILINGS_H
#define PIPELINES_BENCH_CEILINGS_H

#include "core/graph/device.h"
#include "core/ops/op.h"

struct at_ceilings {
    double copy;    // bytes a second, read plus written, of a large copy
    double product; // f32 FLOPs a second of OpenBLAS's 1024 x 1024 x 1024 product by all threads; 0: not measured
    double fma;     // f32 FLOPs a second in registers
};

// About a second. The product is of the CPU alone, and 0 (with a warning) where OpenBLAS is missing.
AT_NODISCARD bool at_ceilings_measure(struct at_device *dev, struct at_ceilings *out);

// A bare cblas_sgemm of this shape, its longer side split over the threads; matrices are row-major without gaps.
// at_blas_load has come first.
void at_ceilings_product(const struct at_product_shape *p, int threads, const float *a, const float *b, float *c);
// Seconds that work of this cost takes at least, and whether that is for memory (NULL: not asked) or arithmetic.
double at_ceilings_seconds(const struct at_ceilings *c, const struct at_cost *cost, bool *memory);

#endif
