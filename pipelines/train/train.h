// SPDX-License-Identifier: Apache-2.0
// The train loop: optimiser steps, metrics, checkpoints, resume. What is learned is a method's business (train_vae.h,
// train_base.h, train_dpo.h).
//
// A run folder holds run.json (the effective settings), metrics.jsonl (a line a step), checkpoint-NNNNNN/ (everything a
// resumed run needs, and what users load), and, at the end, the result.
#ifndef PIPELINES_TRAIN_TRAIN_H
#define PIPELINES_TRAIN_TRAIN_H

#include "core/io/json.h"
#include "core/optim/lr.h"
#include "core/optim/optimizer.h"
#include "pipelines/train/fit.h"
#include "pipelines/train/train_samples.h"

struct at_train_params {
    const char *run; // folder of the run
    int64_t steps;   // optimiser steps in all, resumed ones included
    int batch;       // samples (pictures, pairs) that a step takes at once
    int accumulate;  // batches a step; 0: 1
    double lr;
    double text_lr; // of adapters of text encoders, at the start of the same schedule; 0: lr
    struct at_lr schedule; // `total` 0: steps
    struct at_optimizer_params optimizer;
    uint64_t seed;
    int64_t save_every; // steps between checkpoints; 0: only at the end
    int keep;           // last checkpoints kept; 0: all
    bool resume;        // go on from the newest checkpoint in `run`; it is an error if there is none
    size_t memory_limit; // bytes on the device that the run must fit into; 0: what the device has
    // Of methods that encode pictures: pixels of the autoencoder's tiles, or AT_TILE_AUTO: only if nothing else fits, or
    // AT_TILE_OFF. Of others: AT_TILE_NONE.
    int vae_tile;
    bool pairs; // of methods whose samples are pairs
    struct at_train_samples_params samples; // of methods that train a denoiser
    struct at_fit fit;   // how it does: set by the methods themselves
    // Only try: on a dry device, one step, no file touched. NULL: the real run.
    struct at_forecast *forecast;
    struct at_json config; // written to run.json; may be absent
    // Called after every step with a line for people; NULL: silent.
    void (*progress)(void *priv, int64_t step, int64_t steps, const char *line);
    // Asked after every step, and while data are read; true saves a checkpoint, if a step was done, and ends with
    // AT_ERROR_INTERRUPTED. NULL: never.
    bool (*interrupted)(void *priv);
    void *priv;
};

// Named numbers of one step, averaged over its batches.
#define AT_METRICS 24
struct at_metrics {
    struct {
        const char *name; // static
        double sum;
        int count;
    } list[AT_METRICS];
    int count;
};
void at_metrics_add(struct at_metrics *m, const char *name, double value);
// Mean of a metric; NaN if it is not there.
double at_metrics_get(const struct at_metrics *m, const char *name);

struct at_train_method {
    void *priv;
    const char *name; // "dpo"
    const char *rate; // the metric of its speed: "pairs_per_second"
    struct at_params *sets[AT_OPTIMIZER_SETS]; // what is trained
    const char *set_names[AT_OPTIMIZER_SETS];  // "unet", "lora"
    double rates[AT_OPTIMIZER_SETS];           // what each takes the learning rate times; 0: 1
    int set_count;
    const struct at_lora *lora; // if the sets are an adapter's; a resumed run must have the same
    // Adds the gradients of batch `micro` of step `step` (from 0); must depend on (seed, step, micro) and the weights
    // alone. Metrics "loss" is expected.
    bool (*batch)(void *priv, int64_t step, int micro, struct at_metrics *metrics);
    // Writes into the folder what users load. values[s]: the weights of set s to write (the average, if there is one).
    // dir NULL: does what needs the device, and writes nothing.
    bool (*save)(void *priv, const char *dir, float *const *values);
    struct at_train_samples *samples; // drawn on the way; NULL: none
};

// Before data are read: whether the folder takes this run (none in it yet, or one to resume) and the schedule fits.
AT_NODISCARD bool at_train_check(const struct at_train_params *params, struct at_log *log);
// While data are read: false with AT_ERROR_INTERRUPTED if the user stopped it.
AT_NODISCARD bool at_train_goes_on(const struct at_train_params *params, struct at_log *log);
// To begin with: checks the run (at_train_check), and chooses how the job fits into memory (fit.h): sets params->fit, and
// cuts the batch. `run` runs the whole job of a method, whose parameters `all` begin with `params`.
AT_NODISCARD bool at_train_fit(struct at_device *dev, struct at_train_params *params,
                               bool (*run)(struct at_device *dev, const void *all, struct at_log *log), void *all,
                               struct at_log *log);
// False with AT_ERROR_INTERRUPTED if it was stopped (a checkpoint is saved), else on failure; finished checkpoints stay.
AT_NODISCARD bool at_train(const struct at_train_method *method, const struct at_train_params *params,
                           struct at_log *log);

#endif
