// SPDX-License-Identifier: Apache-2.0
// What attune lora does, one file each: lora_NAME.c; and how they open an adapter.
#ifndef TOOLS_LORA_COMMAND_H
#define TOOLS_LORA_COMMAND_H

#include "pipelines/lora/lora_data.h"
#include "tools/cli.h"

struct at_model;

extern const struct at_command at_command_lora_inspect, at_command_lora_convert, at_command_lora_merge,
    at_command_lora_diff, at_command_lora_extract;

// The layers an adapter's names are looked up in: of a model, or of the widely used one that fits most of its tensors.
struct at_lora_fit {
    struct at_layers *layers; // NULL: none fits
    const char *name;         // "SD 1.x", or the model's path
    int family;               // an enum at_family, or AT_FAMILIES
};
// `model` NULL: the one of SD 1.x, SD 2.x, SDXL and the embedded model that fits best. Says nothing if none does.
AT_NODISCARD bool at_lora_fit(struct at_log *log, const char *path, const char *model, struct at_lora_fit *out);
void at_lora_fit_finish(struct at_lora_fit *fit);

// Whether a result may be written there: it is not, or --force is given.
AT_NODISCARD bool at_lora_may_write(struct at_log *log, const char *path, bool force);

#endif
