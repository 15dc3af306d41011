// SPDX-License-Identifier: Apache-2.0
// A model folder in the layout of diffusers; for model_source.c alone.
#ifndef PIPELINES_SOURCE_SOURCE_FOLDER_H
#define PIPELINES_SOURCE_SOURCE_FOLDER_H

#include "pipelines/source/model_source.h"

// What model_index.json says, and that a variant asked for is there at all. NULL with the reason in the log.
struct at_json_doc *at_folder_index(struct at_log *log, const char *path, const struct at_source_options *options);
struct at_json_doc *at_folder_config(const struct at_model_source *source, const char *component);
struct at_safetensors *at_folder_weights(const struct at_model_source *source, const char *component);
struct at_clip_tokenizer *at_folder_tokenizer(const struct at_model_source *source, const char *component);
struct at_schedule *at_folder_schedule(const struct at_model_source *source);
// Whether a component's weights are there under any name that is read.
bool at_folder_has_weights(const struct at_model_source *source, const char *component);
AT_NODISCARD bool at_folder_hash(const struct at_model_source *source, const char *component, char text[65]);

#endif
