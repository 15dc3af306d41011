// SPDX-License-Identifier: Apache-2.0
// A whole model in one .safetensors file, in the layout of the original repositories: SD 1.x, SD 2.x, SDXL base. Its
// tensors are shown as diffusers' components without copying them; for model_source.c alone.
#ifndef PIPELINES_SOURCE_SINGLE_FILE_H
#define PIPELINES_SOURCE_SINGLE_FILE_H

#include "core/models/layers.h"
#include "pipelines/source/model_source.h"

struct at_single;

// Every tensor of the file is accounted for: what is no part of the model is an error, unless options allow it. What
// was assumed of SD 2.x is told. NULL with the reason in the log.
struct at_single *at_single_open(struct at_log *log, const char *path, const struct at_source_options *options);
// From memory, which must outlive it.
struct at_single *at_single_parse(struct at_log *log, const char *path, const void *bytes, size_t size,
                                  const struct at_source_options *options);
void at_single_destroy(struct at_single **single);

// As at_source_*; components are those of the family.
struct at_json at_single_index_root(const struct at_single *single);
struct at_json_doc *at_single_component_config(const struct at_single *single, const char *component);
struct at_safetensors *at_single_component_weights(const struct at_single *single, const char *component);
enum at_family at_single_family(const struct at_single *single);
struct at_json_doc *at_single_schedule_config(const struct at_single *single);
struct at_schedule *at_single_noise_schedule(const struct at_single *single);
// A tokenizer is not in the file: --tokenizer, a folder `tokenizer` beside it, $ATTUNE_TOKENIZER.
struct at_clip_tokenizer *at_single_tokenizer(const struct at_single *single, const char *component);

#endif
