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
    const char *file; // to go on from: what it adapts is trained, with its ranks and alphas; NULL: a fresh adapter
    bool text;        // of the text encoders too
    const char *const *targets; // layer names or their ends, NULL at the end; NULL, or for a part that has none of them:
                                // to_q to_k to_v to_out.0 of the UNet, q_proj k_proj v_proj out_proj of text encoders
    int rank;                   // 0: 8
    float alpha;                // 0: the rank
    int replicas;               // gradients; 0: frozen
    uint64_t seed;
};

// An adapter to train, of parts of the model that are open. Fresh: A uniform, B zero. NULL if a target fits no layer (it
// lists what there is), or the file has no part of a text encoder where `text` asks for one.
struct at_lora *at_lora_create(struct at_model *m, const struct at_lora_params *params);
// Its parts: what is trained, and what a checkpoint calls each. Returns how many.
int at_lora_sets(const struct at_lora *lora, struct at_params *sets[AT_COMPONENTS], const char *names[AT_COMPONENTS]);
bool at_lora_has_text(const struct at_lora *lora);
// From a file or its folder; `strength` multiplies it. Keys that fit no layer, missing halves and wrong shapes are
// errors, by name.
struct at_lora *at_lora_open(struct at_model *m, const char *path, float strength);
// The same from memory; `name` stands for the file in messages.
struct at_lora *at_lora_parse(struct at_model *m, const char *name, const void *bytes, size_t size, float strength);
// Replaces the file. values[i]: of the i-th of at_lora_sets, in memory layout; NULL: as they are on the device.
AT_NODISCARD bool at_lora_save(const struct at_lora *lora, const char *path, float *const *values);
void at_lora_destroy(struct at_lora **lora);

// The parts of several adapters for one component, for a builder: at most `count`, returned is how many there are.
int at_lora_parts(struct at_lora *const *loras, int count, enum at_component component, struct at_adapter *out);
// The model's text encoders work with these from now on (text.h).
void at_lora_adapt_texts(struct at_model *m, struct at_lora *const *loras, int count);
// The layers of the model's parts that are open. NULL with the reason in the log; the caller destroys it.
struct at_layers *at_lora_layers(const struct at_model *m);

#endif
