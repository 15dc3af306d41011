// SPDX-License-Identifier: Apache-2.0
// Paired comparison of two lists of scores over the same prompts and seeds.
//
// The prompt is the unit: its seeds are not independent of each other. A prompt's result is the mean of its wins (a tie
// counts one half), and the win rate is the mean of that over prompts; Wilson's interval takes the number of prompts as
// n, however many images there are, and the bootstrap resamples whole prompts.
#ifndef PIPELINES_EVAL_COMPARE_H
#define PIPELINES_EVAL_COMPARE_H

#include "core/base/stats.h"

struct at_compare_params {
    size_t prompts, seeds;
    double tolerance;  // scores that differ by no more are a tie; 0: only equal ones
    double confidence; // 0: 0.95
    size_t rounds;     // of the bootstrap; 0: 2000
    uint64_t seed;     // of the bootstrap
};

struct at_comparison {
    size_t prompts, seeds;
    size_t wins, losses, ties;         // images, counted for b
    struct at_interval win_rate;       // of b; Wilson, n = prompts
    struct at_interval win_bootstrap;  // the same rate by the bootstrap over prompts
    double mean_a, mean_b;
    struct at_interval difference;     // mean of b - a, bootstrap over prompts
    double units;                      // effective number of independent images, at_effective_units; for information
};

// a and b: (prompts, seeds) scores, finite. Compares b with a. False with the reason logged.
AT_NODISCARD bool at_compare(const double *a, const double *b, const struct at_compare_params *params,
                             struct at_comparison *out, struct at_log *log);

#endif
