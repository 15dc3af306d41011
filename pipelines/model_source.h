// SPDX-License-Identifier: Apache-2.0
// Where a model comes from: its parts by name. Whoever asks need not know how they are kept on the disk.
//
//     struct at_model_source *s = at_source_open(log, "model");
//     struct at_json_doc *config = s ? at_source_config(s, "unet") : NULL;
//     struct at_safetensors *weights = s ? at_source_weights(s, "unet") : NULL;
//
// Components are named as in diffusers' model_index.json: "unet", "vae", "text_encoder", "text_encoder_2",
// "tokenizer", "tokenizer_2". What a call returns is the caller's to destroy and may outlive the source.
#ifndef PIPELINES_MODEL_SOURCE_H
#define PIPELINES_MODEL_SOURCE_H

#include "core/diffusion/schedule.h"
#include "core/io/json.h"
#include "core/io/safetensors.h"
#include "core/text/clip_tokenizer.h"

struct at_model_source;

// The embedded model's folder: $ATTUNE_DATA/model, beside the program or in its share folder. Free with at_free; NULL
// (logged) if it is nowhere.
char *at_model_embedded_path(struct at_log *log);

// A folder in the layout of diffusers; path NULL: the embedded model. Reads model_index.json alone. NULL with the reason
// in the log, which must outlive the source.
struct at_model_source *at_source_open(struct at_log *log, const char *path);
void at_source_destroy(struct at_model_source **source);

// What it was opened as; the embedded model's folder. As long as the source.
const char *at_source_path(const struct at_model_source *source);
// The fields of model_index.json, as long as the source.
struct at_json at_source_index(const struct at_model_source *source);
// Its _class_name, "StableDiffusionPipeline" where there is none; NULL (logged) if it is no string.
const char *at_source_class(const struct at_model_source *source);

// A component's config. NULL with the reason in the log, as all that follow.
struct at_json_doc *at_source_config(const struct at_model_source *source, const char *component);
// Its weights under diffusers' names.
struct at_safetensors *at_source_weights(const struct at_model_source *source, const char *component);
struct at_clip_tokenizer *at_source_tokenizer(const struct at_model_source *source, const char *component);
struct at_schedule *at_source_schedule(const struct at_model_source *source);
// Content hash of a component's weights: of the one file, or of the hashes of all shards in the order of their names.
AT_NODISCARD bool at_source_hash(const struct at_model_source *source, const char *component, char text[65]);

#endif
