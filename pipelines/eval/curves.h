// SPDX-License-Identifier: Apache-2.0
// The numbers of a run's metrics.jsonl as curves over steps.
#ifndef PIPELINES_EVAL_CURVES_H
#define PIPELINES_EVAL_CURVES_H

#include "core/base/log.h"

#include <stddef.h>

#define AT_CURVES 32

struct at_curve {
    char *name;
    double *steps, *values; // only lines that have the number
    size_t count, capacity, values_capacity;
};

struct at_curves {
    struct at_curve list[AT_CURVES];
    size_t count;
};

// Reads RUN/metrics.jsonl; numbers beyond AT_CURVES names are left out. On failure *curves is empty; else freed by
// at_curves_finish.
AT_NODISCARD bool at_curves_read(struct at_log *log, const char *run, struct at_curves *curves);
void at_curves_finish(struct at_curves *curves); // a zeroed one is fine
// The curve of this name, or NULL.
const struct at_curve *at_curves_find(const struct at_curves *curves, const char *name);
// Its last value; NaN if there is no such curve.
double at_curves_last(const struct at_curves *curves, const char *name);

// Means over windows of `window` values (the last may be shorter), which tame a noisy curve. Fresh arrays in *out,
// freed with at_curve_finish. False: no memory, logged.
AT_NODISCARD bool at_curve_smooth(struct at_log *log, const struct at_curve *curve, size_t window,
                                  struct at_curve *out);
void at_curve_finish(struct at_curve *curve);

#endif
