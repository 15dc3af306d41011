// SPDX-License-Identifier: Apache-2.0
// Statistics of paired comparisons: win rates with ties, their intervals, and the bootstrap over prompts.
//
// Images of one prompt are not independent, so the prompt is the unit: either shrink the sample to an effective number
// of units (Wilson), or resample whole prompts (bootstrap). A tie counts half a win.
#ifndef CORE_BASE_STATS_H
#define CORE_BASE_STATS_H

#include "core/base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

double at_mean(const double *x, size_t n); // 0 for n = 0
double at_std(const double *x, size_t n);  // sample standard deviation (n - 1); 0 for n < 2

struct at_interval {
    double value, low, high;
};

// The z of a two-sided normal interval: 0.95 gives 1.95996. confidence in (0, 1).
double at_normal_quantile(double confidence);

// Wilson's score interval (1927) for a rate `rate` seen on n independent units; n may be fractional. n = 0: 0 to 1.
struct at_interval at_wilson(double rate, double n, double confidence);
// The same from counts: rate = (wins + ties / 2) / (wins + ties + losses).
struct at_interval at_wilson_wins(size_t wins, size_t ties, size_t losses, double confidence);

// Effective number of independent units among n values in clusters of `cluster[i]` (any labels): n / (1 + (m - 1) rho),
// with rho the intraclass correlation of one-way analysis of variance, kept to 0 .. 1, and m its average cluster size.
// Between the number of clusters (all alike inside) and n (clusters do not matter). 0 when out of memory.
double at_effective_units(const double *x, const uint32_t *cluster, size_t n);

struct at_bootstrap_params {
    const double *x;         // one value a comparison: a difference, or 1, 0.5, 0 for a win, tie, loss
    const uint32_t *cluster; // its prompt; NULL: every value on its own
    size_t n;
    size_t rounds;     // 0 = 2000
    double confidence; // 0 = 0.95
    uint64_t seed;
};
// Percentile interval of the mean, resampling whole clusters; `value` is the plain mean. Equal input gives an equal
// result. False when n = 0, the confidence is out of range, a value is not finite, or there is no memory.
AT_NODISCARD bool at_bootstrap_mean(const struct at_bootstrap_params *params, struct at_interval *out,
                                    struct at_log *log);

// 1, 0.5 or 0: whether a is better than b, a difference within `tolerance` being a tie.
double at_win_score(double a, double b, double tolerance);

#endif
