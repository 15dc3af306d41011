// SPDX-License-Identifier: Apache-2.0
// The configs that diffusers would have for a checkpoint's components, from the shapes of their weights.
#ifndef PIPELINES_SOURCE_SINGLE_CONFIG_H
#define PIPELINES_SOURCE_SINGLE_CONFIG_H

#include "core/io/json.h"
#include "pipelines/source/single_family.h"

struct at_single_config_params {
    const char *name; // for messages
    enum at_family family;
    enum at_single_part part;
    const struct at_safetensors *weights; // of the component, under diffusers' names
    bool v;         // SD 2.x predicts v, which goes with its larger pictures
    int projection; // of SDXL's second text encoder, for its denoiser
    int factor;     // by which the autoencoder is finer than its latents
};
// NULL with the reason in the log: a weight is missing from which a width is told.
struct at_json_doc *at_single_config(struct at_log *log, const struct at_single_config_params *params);
// scheduler_config.json and model_index.json of the family.
struct at_json_doc *at_single_schedule(struct at_log *log, const char *name, enum at_family family,
                                       const struct at_single_prediction *prediction);
struct at_json_doc *at_single_index(struct at_log *log, const char *name, enum at_family family);

#endif
