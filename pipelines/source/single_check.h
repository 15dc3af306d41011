// SPDX-License-Identifier: Apache-2.0
// Whether a model is one that a file in the layout of the original repositories can hold: its readers know names and
// shapes, and take the rest from what they know of the family.
#ifndef PIPELINES_SOURCE_SINGLE_CHECK_H
#define PIPELINES_SOURCE_SINGLE_CHECK_H

#include "core/models/clip.h"
#include "core/models/unet.h"
#include "core/models/vae.h"
#include "pipelines/source/model_source.h"
#include "pipelines/source/single_names.h"

struct at_single_model {
    enum at_family family;
    struct at_unet_config unet;
    struct at_vae_config vae;
    struct at_clip_config text[2];
    int prediction; // an enum at_prediction
    bool zero_snr;
};

// The family and the configs of a source's components.
AT_NODISCARD bool at_single_model_read(const struct at_model_source *source, struct at_single_model *out);
// Refuses what readers would take for something else: a config that is not the one they derive from the weights (by the
// field), another noise schedule. `weights` are those of the family's parts, text encoders' with "text_model.".
AT_NODISCARD bool at_single_model_check(const struct at_model_source *source, const struct at_single_model *model,
                                        struct at_safetensors *const weights[AT_SINGLE_PARTS]);
extern const char *const at_single_components[AT_SINGLE_PARTS]; // "unet", ...

#endif
