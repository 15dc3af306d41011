// SPDX-License-Identifier: Apache-2.0
// Names of tensors: what they are in diffusers today, and which of them are of no use. Pure functions.
#ifndef PIPELINES_SOURCE_SOURCE_NAMES_H
#define PIPELINES_SOURCE_SOURCE_NAMES_H

#include "core/io/safetensors.h"

enum at_name_kind {
    AT_NAME_KEPT,
    AT_NAME_RENAMED,
    AT_NAME_IGNORED, // a buffer or a copy that no model reads
};

struct at_st_name {
    char text[512];
    int rank; // of its shape; 0: as it is
};

// A tensor of a component's file in a diffusers folder; `projected`: of a text encoder with a projection. *name is
// filled in if it is renamed: attention of autoencoders saved before diffusers 0.17.
enum at_name_kind at_names_tidy(const char *component, bool projected, const struct at_st_tensor *t,
                                struct at_st_name *name);

#endif
