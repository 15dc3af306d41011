// SPDX-License-Identifier: Apache-2.0
// What peft keeps beside an adapter's weights, its LoraConfig: in lora_adapter_metadata of diffusers' files, with the
// component's name before each field ("unet.lora_alpha"), and in adapter_config.json.
#ifndef PIPELINES_LORA_LORA_META_H
#define PIPELINES_LORA_LORA_META_H

#include "core/io/json.h"
#include "pipelines/lora/lora_data.h"

// Sets alpha of the component's layers as peft would: lora_alpha, or the first key of alpha_pattern that matches the
// end of the layer's name; times sqrt(rank) with use_rslora. `prefix` stands before every field; "" for
// adapter_config.json. Without r and lora_alpha nothing is changed.
AT_NODISCARD bool at_lora_meta_read(struct at_json config, const char *prefix, struct at_lora_data *data,
                                    enum at_component component);
// Writes the fields of one component's layers; `target_modules` are whole names.
void at_lora_meta_write(struct at_json into, const char *prefix, const struct at_lora_data *data,
                        enum at_component component);

// Rank and alpha that most layers of a component have; the smallest of equals. False: it has none.
struct at_lora_usual {
    int rank;
    float alpha;
};
bool at_lora_usual(const struct at_lora_data *data, enum at_component component, struct at_lora_usual *out);

#endif
