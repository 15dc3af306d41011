// SPDX-License-Identifier: Apache-2.0
// Writing a model as a diffusers folder.
#ifndef PIPELINES_MODEL_MODEL_FOLDER_H
#define PIPELINES_MODEL_MODEL_FOLDER_H

#include "pipelines/model/model.h"

struct at_model_folder {
    unsigned parts; // whose weights are written; the others' are the source's
    const float *text[AT_TEXTS], *unet, *vae; // in memory layout; NULL: as they are on the device
    enum at_st_dtype dtype;
};

// Configs, tokenizer and schedule are those of the model's source; vae/config.json gets the model's scaling_factor.
// Weights of parts not written are the source's, where it has them. Existing files are replaced.
AT_NODISCARD bool at_model_folder_save(struct at_model *m, const char *dir, const struct at_model_folder *how);

#endif
