// SPDX-License-Identifier: Apache-2.0
// An adapter from two models: what the weights of one have become in the other, at a low rank.
#ifndef PIPELINES_LORA_LORA_EXTRACT_H
#define PIPELINES_LORA_LORA_EXTRACT_H

#include "pipelines/lora/lora.h"

struct at_lora_extract_params {
    const struct at_model *base, *tuned; // of the same sizes
    const char *out;                     // the file, in diffusers' names; replaced
    int rank;                            // at most; less where a layer is smaller
    bool linear;                         // leave convolutions larger than 1x1 alone
    enum at_st_dtype dtype;              // F32, F16 or BF16
    bool (*progress)(void *priv, double done); // false stops with AT_ERROR_INTERRUPTED. May be NULL
    void *priv;
};

// Frobenius norms of differences, all components together.
struct at_lora_extracted {
    int layers;       // that differ
    double all;       // of all weights
    double adaptable; // of the layers that the adapter is of
    double lost;      // of what is not in their products
};

// Layers that are the same in both are left out; models that do not differ in any layer are an error.
AT_NODISCARD bool at_lora_extract(const struct at_lora_extract_params *params, struct at_lora_extracted *out);

#endif
