// SPDX-License-Identifier: Apache-2.0
// The speed of a model: the steps of sampling and of training, on made-up latents.
#ifndef PIPELINES_BENCH_BENCH_MODEL_H
#define PIPELINES_BENCH_BENCH_MODEL_H

#include "core/ops/op.h"

#define AT_BENCH_PAIRS 256 // at most in a batch
#define AT_BENCH_RUNS 50   // timed, at most

// What the runs of one op come to in a task.
struct at_bench_share {
    double seconds; // of the task, as if ops of other workers at the same time took none
    struct at_cost cost;
    int64_t runs;
};

struct at_bench_task {
    const char *name, *unit; // "denoiser", "image"
    int items;               // images or pairs
    double seconds;          // the median of some runs
    double processor;        // the same of processor seconds, all threads together; 0: not measured
    double flops;
    size_t arena;            // device memory beside the model's weights, in bytes
    struct at_bench_share ops[AT_OP_COUNT]; // all zero where the device does not tell
};

// The tasks, in their order.
enum at_bench_kind {
    AT_BENCH_DECODE = 1,
    AT_BENCH_DENOISER = 2,
    AT_BENCH_SAMPLING = 4,
    AT_BENCH_DPO = 8,
};

struct at_bench_model_params {
    const char *model; // NULL: the embedded one
    unsigned kinds;    // bits of enum at_bench_kind; 0: all. Parts that none of them needs are not loaded
    bool untrained;    // initial weights: the model's folder needs none
    const struct at_source_options *reading; // of its files; NULL: as they are
    int size;          // pixels, both sides; 0: the model's own
    int batch;         // images and pairs; 0: as many as make a latent of 64 x 64, at most 16
    double seconds;    // spent on a task, about; 0: 2
    int runs;          // timed, of a task; 0: as many as `seconds` allow, 3 at least
    // Called after every task; false stops with AT_ERROR_INTERRUPTED.
    bool (*take)(void *priv, const struct at_bench_task *task);
    void *priv;
};

struct at_device;
// Decoding, one denoiser run, one sampling step with guidance, and one step of Diffusion-DPO with a LoRA of rank 8.
// Fills in size and batch.
AT_NODISCARD bool at_bench_model(struct at_device *dev, struct at_bench_model_params *params);

#endif
