// SPDX-License-Identifier: Apache-2.0
// `attune demo`: the embedded model is tuned on its own samples, labelled by a rule, and measured on names that no pair
// has, beside a control trained alike on the same pairs with labels drawn by coin.
//
// Leaves in the folder: run-pairs/ and run-control/ (the two trainings), scores.csv, grid-001.png ... (base and tuned
// side by side), report.html and report.json.
#ifndef PIPELINES_DEMO_DEMO_H
#define PIPELINES_DEMO_DEMO_H

#include "core/graph/device.h"

#include <stdint.h>

struct at_demo_params {
    const char *out;   // folder; what an earlier demo left there is replaced
    const char *model; // NULL: the embedded one
    const char *pairs; // folder of made pairs; NULL: those beside the embedded model
    uint64_t seed;     // of both trainings, and of the coin

    size_t prompts;      // held-out names that are drawn, spread over all; 0: all
    size_t seeds;        // images a name; 0: 1
    uint64_t first_seed; // of the drawings' noise; 0: AT_DEMO_FIRST_SEED, which no shipped pair uses
    int sample_steps;    // 0: 20
    double cfg;          // 0: the default of eval.h

    int64_t steps;    // of training; 0: 100
    int batch;        // pairs a step; 0: 16
    double lr;        // 0: 7e-4
    double beta;      // 0: 2000
    int rank;         // of the LoRA, on all layers but the first, the last and the time embedding; 0: 8
    double held_out;  // share of the pairs' names kept apart for the implicit accuracy; 0: 0.1
    size_t grid_rows; // names in the grids; 0: 24

    // Work done of a stage, 0 .. 1, and details or NULL; false stops with AT_ERROR_INTERRUPTED. May be NULL.
    bool (*progress)(void *priv, const char *stage, double done, const char *details);
    void *priv;
};

#define AT_DEMO_FIRST_SEED 1000000000

// What report.json holds under the same names, for callers.
struct at_demo_result {
    size_t prompts, seeds, pairs, wins, losses, ties;
    double win_rate, ci_low, ci_high, control_win_rate, control_ci_low, control_ci_high;
    double fidelity_base, fidelity_tuned, fidelity_control;
    bool clear; // the tuned model's interval lies above 50% and above the control's
};

AT_NODISCARD bool at_demo(struct at_device *dev, const struct at_demo_params *params, struct at_demo_result *result,
                          struct at_log *log);

#endif
