// SPDX-License-Identifier: Apache-2.0
// The denoiser compiled for one batch and size, spread over the device's workers.
#ifndef PIPELINES_MODEL_DENOISER_H
#define PIPELINES_MODEL_DENOISER_H

#include "pipelines/model/model.h"

struct at_denoiser_params {
    int batch;        // samples a run
    int at_once;      // of them, to save memory: the others follow; 0: all
    int height, width; // of the latents
    const struct at_adapter *adapters;
    int adapter_count;
};

struct at_denoiser;

struct at_denoiser *at_denoiser_create(struct at_model *m, const struct at_denoiser_params *params);
void at_denoiser_destroy(struct at_denoiser **d);
// y (batch,h,w,C) from x, timesteps t (batch) and rows of condition.h (batch,floats).
AT_NODISCARD bool at_denoiser_run(struct at_denoiser *d, const float *x, const float *t, const float *rows, float *y);
// FLOPs a sample.
double at_denoiser_flops(const struct at_denoiser *d);

#endif
