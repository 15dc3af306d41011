// SPDX-License-Identifier: Apache-2.0
// Pictures of a training on its way: the same prompts and seeds every so many steps, a sheet each, RUN/samples/STEP.png.
#ifndef PIPELINES_TRAIN_TRAIN_SAMPLES_H
#define PIPELINES_TRAIN_TRAIN_SAMPLES_H

#include "pipelines/lora/lora.h"
#include "pipelines/model/model.h"

#define AT_TRAIN_SAMPLES 64 // prompts at most

struct at_train_samples_params {
    int64_t every;       // steps; 0: no pictures
    const char *prompts; // file (datasets/prompts.h), of which text, negative and seed are used
    int steps;           // of the sampler; 0: what suits the model
    double cfg;          // guidance scale; 0: the same
};

struct at_train_params;
struct at_train_samples;

// Reads the prompts. The model must keep its text encoder and autoencoder; its weights at the time of a draw are used,
// with *lora if there is one by then; lora may be NULL. size: pixels of a picture's side. NULL with the reason in the log.
struct at_train_samples *at_train_samples_open(struct at_model *m, struct at_lora *const *lora, int size,
                                               const struct at_train_params *params);
void at_train_samples_close(struct at_train_samples **samples);
// Whether pictures are due after so many steps: before the first, every so many, and after the last.
bool at_train_samples_due(const struct at_train_samples *samples, int64_t step);
// Draws them and writes the sheet; on a dry device nothing is written. An interruption is no failure: there is no sheet.
AT_NODISCARD bool at_train_samples_draw(struct at_train_samples *samples, int64_t step);

#endif
