// SPDX-License-Identifier: Apache-2.0
// LoRA adapters of a model: made, read from any file that lora_data.h reads, and written as diffusers'
// pytorch_lora_weights.safetensors.
#ifndef PIPELINES_LORA_LORA_H
#define PIPELINES_LORA_LORA_H

#include "core/models/adapter.h"
#include "pipelines/model/model.h"

struct at_lora {
    struct at_adapter part[AT_COMPONENTS]; // params NULL: it leaves the component alone
};

struct at_lora_params {
    const char *const *targets; // layer names or their ends, NULL at the end; NULL: to_q to_k to_v to_out.0
    int rank;                   // 0: 8
    float alpha;                // 0: the rank
    int replicas;               // gradients; 0: frozen
    uint64_t seed;
};

// A fresh adapter for the model's denoiser: A uniform, B zero. NULL if no layer matches a target (it lists names).
struct at_lora *at_lora_create(struct at_model *m, const struct at_lora_params *params);
// From a file or its folder; `strength` multiplies it. Keys that fit no layer, missing halves and wrong shapes are
// errors, by name.
struct at_lora *at_lora_open(struct at_model *m, const char *path, float strength);
// The same from memory; `name` stands for the file in messages.
struct at_lora *at_lora_parse(struct at_model *m, const char *name, const void *bytes, size_t size, float strength);
// Replaces the file; of the denoiser's part alone. `values` in memory layout, NULL: as they are on the device.
AT_NODISCARD bool at_lora_save(const struct at_lora *lora, const char *path, const float *values);
void at_lora_destroy(struct at_lora **lora);

// The parts of several adapters for one component, for a builder: at most `count`, returned is how many there are.
int at_lora_parts(struct at_lora *const *loras, int count, enum at_component component, struct at_adapter *out);
// The layers of the model's parts that are open. NULL with the reason in the log; the caller destroys it.
struct at_layers *at_lora_layers(const struct at_model *m);

#endif
