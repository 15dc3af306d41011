// SPDX-License-Identifier: Apache-2.0
// The speed of single operators at sizes of real models.
#ifndef PIPELINES_BENCH_BENCH_OPS_H
#define PIPELINES_BENCH_BENCH_OPS_H

#include "pipelines/bench/ceilings.h"

#define AT_BENCH_TEXT 256

struct at_bench_size {
    const char *op;
    struct at_op_case c; // its shapes, attributes and ranges
};
// What is measured: every op that runs anything. `op` NULL at the end.
extern const struct at_bench_size at_bench_sizes[];

// One size of one op.
struct at_bench_line {
    const struct at_op *op;
    char text[AT_BENCH_TEXT]; // its shapes and attributes
    double seconds;           // of a run, the best of many
    struct at_cost cost;
    double sgemm; // seconds of a bare cblas_sgemm of the product's shape, measured in turn with the op; 0: not measured
};

struct at_bench_ops_params {
    const char *const *ops; // names; NULL: all
    size_t count;
    double seconds; // of measuring a line; 0: 0.2
    bool sgemm;     // OpenBLAS is loaded (at_blas_load), and the device is the CPU
    // Called after every line; false stops with AT_ERROR_INTERRUPTED.
    bool (*take)(void *priv, const struct at_bench_line *line);
    void *priv;
};

// Whether all names are of ops that run something; else AT_ERROR_USAGE, with the nearest name.
AT_NODISCARD bool at_bench_ops_check(const char *const *ops, size_t count, struct at_log *log);
// Of known names. Ops that the device has no kernel for are passed over.
AT_NODISCARD bool at_bench_ops(struct at_device *dev, const struct at_bench_ops_params *params);

#endif
