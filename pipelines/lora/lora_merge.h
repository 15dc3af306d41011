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
    int count; // 0: the model as it is, in another form
    const char *out;        // a folder, or a file that ends in .safetensors; see source_write.h
    bool replace;           // a file of that name
    bool convert;           // all weights to `dtype`; else each tensor stays of the type it has
    enum at_st_dtype dtype; // F32, F16 or BF16
    bool (*progress)(void *priv, double done); // false stops with AT_ERROR_INTERRUPTED. May be NULL
    void *priv;
};

// Writes the whole model, which appears whole or not at all. The host holds a piece of a weight and the adapters' layer
// for it at a time.
AT_NODISCARD bool at_lora_merge(const struct at_model *m, const struct at_lora_merge_params *params);

#endif
