// SPDX-License-Identifier: Apache-2.0
// A low-rank adapter (LoRA, Hu et al. 2021) of one component, on linear layers and convolutions:
// y += alpha / rank * strength * up(down(x)), with a rank and an alpha of its own for every layer.
//
//     struct at_adapter a = {.params = at_params_create(log), .strength = 1};
//     ok = at_adapter_add(&a, "mid_block.attentions.0.proj_in", 4, 8);
//     struct at_builder b = {.g = g, .params = weights, .adapters = &a, .adapter_count = 1}; // declares the halves
//     at_adapter_finish(&a); // not the params
#ifndef CORE_MODELS_ADAPTER_H
#define CORE_MODELS_ADAPTER_H

#include "core/base/index.h"
#include "core/models/layers.h"
#include "core/models/params.h"

struct at_adapter_layer {
    char *name; // as the builder names it
    int rank;
    float alpha;
};

struct at_adapter {
    struct at_params *params; // NAME.lora_A.weight (rank, in..), NAME.lora_B.weight (out, rank)
    struct at_adapter_layer *layers;
    int count;
    float strength;
    size_t capacity;
    struct at_index index;
};

AT_NODISCARD bool at_adapter_add(struct at_adapter *adapter, const char *name, int rank, float alpha);
// Whether a layer is one of `targets` (NULL at the end), or its name ends with "." and one.
bool at_adapter_targeted(const char *name, const char *const *targets);
// NULL: the layer is not adapted.
const struct at_adapter_layer *at_adapter_find(const struct at_adapter *adapter, const char *name);
void at_adapter_finish(struct at_adapter *adapter);

#endif
