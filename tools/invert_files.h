// SPDX-License-Identifier: Apache-2.0
// What attune invert leaves behind: a folder with latents.safetensors, invert.json, the pictures drawn again, and pages
// that show them beside the inputs.
#ifndef TOOLS_INVERT_FILES_H
#define TOOLS_INVERT_FILES_H

#include "pipelines/sample/invert.h"
#include "tools/models.h"
#include "tools/options.h"

struct at_invert_files {
    const char *dir;
    const struct at_texts *images;  // paths of the inputs
    const struct at_invert_params *params;
    const struct at_inverted *result;
    const struct at_loaded *loaded; // hashed
    const struct at_device *dev;
};

struct at_round_trip at_invert_mean(const struct at_inverted *result);
// Errors of every picture and their means, and how they came about. NULL (logged): no memory.
struct at_json_doc *at_invert_json(const struct at_invert_files *f, struct at_log *log);
// True if the folder is missing, empty, or (with `force`) left by an earlier inversion; else false with the reason logged.
AT_NODISCARD bool at_invert_may_write(const char *dir, bool force, struct at_log *log);
// The folder whole, or nothing.
AT_NODISCARD bool at_invert_write(const struct at_invert_files *f, struct at_json_doc *json, struct at_log *log);

#endif
