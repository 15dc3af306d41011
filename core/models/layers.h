// SPDX-License-Identifier: Apache-2.0
// The layers of a model that an adapter can act on: its linear layers and convolutions, by the names that diffusers and
// the original implementation give them, and by either with underscores for dots, as kohya's files do.
//
//     struct at_layers *l = at_layers_create(log);
//     ok = l && at_layers_add_unet(l, &config);
//     const struct at_layer *in = at_layers_find(l, AT_COMPONENT_UNET, "input_blocks_1_1_proj_in");
//     at_layers_destroy(&l);
#ifndef CORE_MODELS_LAYERS_H
#define CORE_MODELS_LAYERS_H

#include "core/base/index.h"
#include "core/base/log.h"

#include <stdint.h>

struct at_unet_config;
struct at_clip_config;

enum at_component { AT_COMPONENT_UNET, AT_COMPONENT_TEXT, AT_COMPONENT_TEXT_2, AT_COMPONENTS };
const char *at_component_name(enum at_component component); // "unet", "text_encoder", "text_encoder_2"

struct at_layer {
    enum at_component component;
    char *name;     // diffusers' and transformers'; text encoders' with "text_model."
    char *original; // of the UNet: "input_blocks.1.1.proj_in"; NULL where there is none
    int64_t out, in;
    int kernel; // 1: linear, or a convolution of one tap
    bool conv;  // its weight in a file has four dimensions
};

struct at_layers {
    struct at_log *log;
    struct at_layer *list;
    int count;
    size_t capacity;
    struct at_layer_key *keys;
    int key_count;
    size_t key_capacity;
    struct at_index index;
};

// What is widely used. SD 1.x, SD 2.x, SDXL base.
enum at_family { AT_FAMILY_SD1, AT_FAMILY_SD2, AT_FAMILY_SDXL, AT_FAMILIES };
const char *at_family_name(enum at_family family);

struct at_layers *at_layers_create(struct at_log *log);
void at_layers_destroy(struct at_layers **layers);
AT_NODISCARD bool at_layers_add_unet(struct at_layers *layers, const struct at_unet_config *config);
AT_NODISCARD bool at_layers_add_text(struct at_layers *layers, enum at_component component,
                                     const struct at_clip_config *config);
// All layers of a family's components, from its published configs. NULL: no memory.
struct at_layers *at_layers_family(struct at_log *log, enum at_family family);

// The layer by any of its names; a dot and an underscore are the same. NULL: none. With `name` NULL: whether the
// component is there at all, its first layer.
const struct at_layer *at_layers_find(const struct at_layers *layers, enum at_component component, const char *name);

// The original implementation's name (CompVis latent-diffusion, Stability-AI generative-models) of a UNet's layer or
// parameter stem into `out`; false if there is none, or it is longer than `size`.
bool at_unet_original_name(const struct at_unet_config *config, const char *name, char *out, size_t size);

#endif
