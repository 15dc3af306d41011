// SPDX-License-Identifier: Apache-2.0
// What methods that train an adapter have in common.
#ifndef PIPELINES_TRAIN_TRAIN_LORA_H
#define PIPELINES_TRAIN_TRAIN_LORA_H

#include "pipelines/lora/lora.h"
#include "pipelines/train/train.h"

// Lets `method` train the adapter: sets, names, rates.
void at_train_lora(struct at_train_method *method, const struct at_lora *lora, const struct at_train_params *params);
// Writes DIR/pytorch_lora_weights.safetensors; values as a method's `save` is given them.
AT_NODISCARD bool at_train_lora_save(const struct at_lora *lora, const char *dir, float *const *values);
// Of layers, ranks and alphas.
void at_train_lora_hash(const struct at_lora *lora, char text[65]);

#endif
