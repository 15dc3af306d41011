// SPDX-License-Identifier: Apache-2.0
// Where a model comes from: its parts by name. Whoever asks need not know how they are kept on the disk.
//
//     struct at_model_source *s = at_source_open(log, "model", NULL);
//     struct at_json_doc *config = s ? at_source_config(s, "unet") : NULL;
//     struct at_safetensors *weights = s ? at_source_weights(s, "unet") : NULL;
//
// Components are named as in diffusers' model_index.json: "unet", "vae", "text_encoder", "text_encoder_2",
// "tokenizer", "tokenizer_2". What a call returns is the caller's to destroy and may outlive the source.
#ifndef PIPELINES_SOURCE_MODEL_SOURCE_H
#define PIPELINES_SOURCE_MODEL_SOURCE_H

#include "core/diffusion/schedule.h"
#include "core/io/json.h"
#include "core/io/safetensors.h"
#include "core/text/clip_tokenizer.h"

struct at_model_source;

// How the files are read; all zero: as they are. The strings must outlive the source.
struct at_source_options {
    const char *variant;   // of a folder's weights, "fp16": unet/diffusion_pytorch_model.fp16.safetensors
    const char *tokenizer; // in place of the model's own: a folder, or a file of merges
    int prediction;        // in place of the schedule's own: 1 + an enum at_prediction
    bool allow_unexpected; // tensors that are no part of the model are warned about instead of refused
};

// The embedded model's folder: $ATTUNE_DATA/model, beside the program or in its share folder. Free with at_free; NULL
// (logged) if it is nowhere.
char *at_model_embedded_path(struct at_log *log);

// A folder in the layout of diffusers, or a checkpoint in one .safetensors file (single_file.h); path NULL: the embedded
// model; options NULL: none. NULL with the reason in the log, which must outlive the source.
struct at_model_source *at_source_open(struct at_log *log, const char *path, const struct at_source_options *options);
void at_source_destroy(struct at_model_source **source);

// What it was opened as; the embedded model's folder. As long as the source.
const char *at_source_path(const struct at_model_source *source);
bool at_source_is_folder(const struct at_model_source *source);
const struct at_source_options *at_source_options(const struct at_model_source *source);
// The fields of model_index.json, as long as the source.
struct at_json at_source_index(const struct at_model_source *source);
// Its _class_name, "StableDiffusionPipeline" where there is none; NULL (logged) if it is no string.
const char *at_source_class(const struct at_model_source *source);

// A component's config. NULL with the reason in the log, as all that follow.
struct at_json_doc *at_source_config(const struct at_model_source *source, const char *component);
// Its weights under diffusers' names of today, without what is known to be of no use.
struct at_safetensors *at_source_weights(const struct at_model_source *source, const char *component);
struct at_clip_tokenizer *at_source_tokenizer(const struct at_model_source *source, const char *component);
struct at_schedule *at_source_schedule(const struct at_model_source *source);
// Writes one file of diffusers' layout, "unet/config.json", below the folder `to`: from the model's own, or made. Weights
// get their plain name; vocab.json brings a tokenizer's other files along. What the model does not have is passed over.
AT_NODISCARD bool at_source_save_file(const struct at_model_source *source, const char *name, const char *to);
// A whole component in as many files as it takes: config and weights, tokenizer or schedule.
AT_NODISCARD bool at_source_save_component(const struct at_model_source *source, const char *component, const char *to);
// Content hash: of a single file; of a component's one file, or of the hashes of all shards in the order of their names.
AT_NODISCARD bool at_source_hash(const struct at_model_source *source, const char *component, char text[65]);

#endif
