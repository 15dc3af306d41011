// SPDX-License-Identifier: Apache-2.0
// The inside of demo.h: what the stages of the demo hand to each other.
#ifndef PIPELINES_DEMO_DEMO_RUN_H
#define PIPELINES_DEMO_DEMO_RUN_H

#include "pipelines/demo/demo.h"
#include "pipelines/eval/curves.h"
#include "pipelines/eval/eval.h"

enum at_demo_model { AT_DEMO_BASE, AT_DEMO_TUNED, AT_DEMO_CONTROL, AT_DEMO_MODELS };
enum at_demo_reward { AT_DEMO_RULE, AT_DEMO_FIDELITY, AT_DEMO_SATURATION, AT_DEMO_REWARDS };

// One of the three models and what is known of it.
struct at_demo_side {
    struct at_drawings drawings;
    struct at_comparison versus_base[AT_DEMO_REWARDS]; // empty for the base itself
    double top1, top5;        // share of pictures whose nearest true pictures include their own name's
    struct at_curves curves;  // of the training; empty for the base
    double held_out_accuracy; // implicit, on pairs of names that were not trained on; NaN: not measured
    int held_out_pairs;
    double train_seconds, draw_seconds;
};

struct at_demo_run {
    struct at_demo_params p; // with the defaults filled in
    struct at_log *log;
    struct at_truth *truth;
    char *pairs;       // folder
    size_t pair_count; // in it
    const char **prompts;
    const struct at_reward *rewards[AT_DEMO_REWARDS];
    struct at_eval_params eval;
    struct at_demo_side sides[AT_DEMO_MODELS];
    struct at_comparison versus_control; // tuned against the control, by the rule
    struct at_demo_result *result;
    const char *stage; // of the work in hand
    bool stopped;
    double seconds; // of all
};

extern const char *const at_demo_names[AT_DEMO_MODELS]; // "base", "tuned", "control"

// The path OUT/name, fresh; NULL (logged): no memory.
char *at_demo_path(const struct at_demo_run *run, const char *name);
// demo_train.c: trains on the pairs or on the coin.
AT_NODISCARD bool at_demo_train(struct at_device *dev, struct at_demo_run *run, enum at_demo_model which);
// demo_grid.c: grid-NNN.png, and a picture of rows with all three models and the truth for the page.
AT_NODISCARD bool at_demo_grids(struct at_demo_run *run);
// Rows of the given images (prompt * seeds + seed): truth, base, tuned, control.
AT_NODISCARD bool at_demo_strip(struct at_demo_run *run, const size_t *images, size_t count, struct at_image *out);
// demo_json.c, demo_page.c: report.json and report.html.
AT_NODISCARD bool at_demo_json(const struct at_demo_run *run);
AT_NODISCARD bool at_demo_page(struct at_demo_run *run);

#endif
