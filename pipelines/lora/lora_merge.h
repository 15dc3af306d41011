// SPDX-License-Identifier: Apache-2.0
// Puts adapters into the weights of a model: W + strength * alpha / rank * up down, computed in double, rounded once.
#ifndef PIPELINES_LORA_LORA_MERGE_H
#define PIPELINES_LORA_LORA_MERGE_H

#include "pipelines/lora/lora_data.h"
#include "pipelines/model/model.h"

struct at_lora_share {
    const struct at_lora_data *data; // read with the model's layers
    double strength;
};

struct at_lora_merge_params {
    const struct at_lora_share *shares;
    int count;
    const char *out;        // the folder; made, and must be empty
    bool convert;           // all weights to `dtype`; else each tensor stays of the type it has
    enum at_st_dtype dtype; // F32, F16 or BF16
    bool (*progress)(void *priv, double done); // false stops with AT_ERROR_INTERRUPTED. May be NULL
    void *priv;
};

// Writes a whole folder in the layout of diffusers. On failure what was written stands in `out` unfinished, without a
// model_index.json, so that nothing takes it for a model.
AT_NODISCARD bool at_lora_merge(const struct at_model *m, const struct at_lora_merge_params *params);

#endif
