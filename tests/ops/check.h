// SPDX-License-Identifier: Apache-2.0
// The verdicts: a device against the oracle, and the oracle's gradient against differences.
#ifndef TESTS_OPS_CHECK_H
#define TESTS_OPS_CHECK_H

#include "tests/ops/trial.h"

struct ops_error {
    double max;  // largest |a - ref| over the largest |ref|
    double nmse; // sum (a - ref)^2 / sum ref^2
};

// Errors of n values. A value that is not finite, or a reference that is not, is an infinite error.
struct ops_error ops_compare(const double *a, const double *ref, int64_t n);
// Whether the errors keep to the relative tolerance.
bool ops_error_within(struct ops_error e, double tolerance);

// Runs a case on the device with and without shared memory, forward and backward, and compares with the oracle; checks
// guards and inputs too. `serial`: the same device with one thread, may be NULL; its results must be the same bit by
// bit, but for products, where BLAS rounds small pieces otherwise. The reason of a failure is in `why` (on success
// a remark, or ""), the largest error in *worst.
AT_NODISCARD bool ops_check_ref(struct at_device *dev, struct at_device *serial, struct at_device *oracle,
                                const struct at_op *op, const struct at_op_case *c, uint64_t seed, double *worst,
                                char *why, size_t size);

// Gradient of <w, y> against central differences of fourth order, in the oracle, with random w. Every element of small
// inputs; of large ones random directions and some elements. `prepare`, may be NULL, changes the values before.
AT_NODISCARD bool ops_check_grad(struct at_device *oracle, const struct at_op *op, const struct at_op_case *c,
                                 uint64_t seed, void (*prepare)(struct ops_data *data), double *worst, char *why,
                                 size_t size);
// That the gradient of an op without backward is refused when the graph is built, with the op's name.
AT_NODISCARD bool ops_check_refusal(const struct at_op *op, const struct at_op_case *c);

#endif
