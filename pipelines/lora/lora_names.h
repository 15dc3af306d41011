// SPDX-License-Identifier: Apache-2.0
// How programs name the tensors of an adapter.
//
//     struct at_lora_key key;
//     const char *text = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight";
//     if (at_lora_key_parse(text, layers, &key) == AT_LORA_KNOWN)
//         ... key.layer->name is "mid_block.attentions.0.proj_in", key.half is AT_LORA_DOWN ...
#ifndef PIPELINES_LORA_LORA_NAMES_H
#define PIPELINES_LORA_LORA_NAMES_H

#include "core/models/layers.h"

// The example is down_blocks.0.attentions.0.proj_in of the UNet; text encoders follow the same pattern.
enum at_lora_dialect {
    AT_LORA_DIFFUSERS,       // unet.down_blocks.0.attentions.0.proj_in.lora_A.weight
    AT_LORA_DIFFUSERS_OLD,   // unet.down_blocks.0.attentions.0.proj_in.lora.down.weight, ...processor.to_q_lora.down...
    AT_LORA_KOHYA,           // lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight;
                             // of SDXL lora_unet_input_blocks_1_1_proj_in.lora_down.weight
    AT_LORA_KOHYA_DIFFUSERS, // lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight of SDXL too
    AT_LORA_COMFYUI,         // diffusion_model.input_blocks.1.1.proj_in.lora_A.weight
    AT_LORA_PEFT,            // base_model.model.down_blocks.0.attentions.0.proj_in.lora_A.weight, one component a file;
                             // text_encoder is named as in transformers 5: without "text_model."
    AT_LORA_DIALECTS
};
// The words of the command line, NULL at the end; and what a reader is told.
extern const char *const at_lora_dialect_words[AT_LORA_DIALECTS + 1];
const char *at_lora_dialect_name(enum at_lora_dialect dialect);

enum at_lora_half { AT_LORA_DOWN, AT_LORA_UP, AT_LORA_ALPHA };

#define AT_LORA_NAME 512

struct at_lora_key {
    enum at_lora_half half;
    enum at_lora_dialect dialect;
    enum at_component component;
    const struct at_layer *layer; // NULL if there was no list to look into
    char name[AT_LORA_NAME];      // of the layer: its own, else as far as the key tells
};

enum at_lora_known {
    AT_LORA_KNOWN,
    AT_LORA_UNKNOWN, // no part of an adapter, or no layer of that name
    AT_LORA_LACKING, // of a component (key.component) that the list does not have
};

// `layers` NULL: names are taken as they are. Where a key does not say which text encoder it is of, it is text_encoder.
enum at_lora_known at_lora_key_parse(const char *key, const struct at_layers *layers, struct at_lora_key *out);
// The tensor's name in a dialect, freed with at_free; NULL: no memory. `layers` tells SDXL from the others.
char *at_lora_key_print(enum at_lora_dialect dialect, const struct at_layers *layers, const struct at_layer *layer,
                        enum at_lora_half half);
// What a tensor belongs to that is no plain LoRA ("a LoHa (LyCORIS)"), or NULL.
const char *at_lora_foreign(const char *key);

#endif
