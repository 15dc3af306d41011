// SPDX-License-Identifier: Apache-2.0
// What a .safetensors file holds, told from names and shapes.
#ifndef PIPELINES_SOURCE_SINGLE_FAMILY_H
#define PIPELINES_SOURCE_SINGLE_FAMILY_H

#include "pipelines/source/single_names.h"

// The family of a whole checkpoint. What is none, or one that is not supported, fails by name and with what to do.
AT_NODISCARD bool at_single_family_find(struct at_log *log, const char *path, const struct at_safetensors *file,
                                        enum at_family *family);

// What the denoiser puts out. SD 2.x has two kinds of equal names and shapes. In this order: keys that say so (v_pred),
// metadata (modelspec), for SD 2.x the weights: ComfyUI's rule, by which the last norm's bias spreads further under v.
struct at_single_prediction {
    const char *type;   // "epsilon" or "v_prediction"
    const char *reason; // what it was told from; NULL: all models of the family have it
    bool zero_snr;      // the schedule ends in pure noise (ztsnr)
};
AT_NODISCARD bool at_single_prediction_find(const struct at_safetensors *file, enum at_family family,
                                            struct at_single_prediction *out);

#endif
