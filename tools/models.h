// SPDX-License-Identifier: Apache-2.0
// A model with adapters as the command line names them: MODEL, --lora FILE[:SCALE], and MODEL+FILE[:SCALE]+... in one
// word, where MODEL may be "embedded". FILE may be a folder that holds pytorch_lora_weights.safetensors.
#ifndef TOOLS_MODELS_H
#define TOOLS_MODELS_H

#include "pipelines/lora/lora.h"
#include "tools/options.h"

#define AT_LOADED_LORAS 8

struct at_lora_file {
    char *path;
    float scale;
    char sha256[65]; // filled in by at_loaded_hash
};

struct at_loaded {
    char *path; // of the model; NULL: the embedded one
    const struct at_source_options *reading; // of its files, set by the caller after at_loaded_parse; NULL: as they are
    struct at_lora_file files[AT_LOADED_LORAS];
    int count;
    struct at_model *model;
    struct at_lora *loras[AT_LOADED_LORAS];
    char sha256[65]; // of the denoiser's weights, by at_loaded_hash
};

// --variant, --tokenizer, --prediction and --allow-unexpected, for all models of a command.
void at_reading_options(struct at_options *options, struct at_source_options *reading);

// The word "embedded" (no folder of that name being there) is NULL, as at_model_open wants it; others stay.
const char *at_model_word(const char *word);
// Reads MODEL+FILE[:SCALE]+... (NULL: the embedded model) and more FILE[:SCALE]; nothing is opened.
// Before the first plus may stand nothing: "+FILE", and "+" alone, are of the embedded model. Freed by at_loaded_finish, also on failure.
AT_NODISCARD bool at_loaded_parse(struct at_log *log, const char *model, const struct at_texts *loras,
                                  struct at_loaded *loaded);
// Looks at the files of model and adapters without reading weights, so that a mistake is told before work begins.
AT_NODISCARD bool at_loaded_check(const struct at_loaded *loaded, struct at_log *log);
AT_NODISCARD bool at_loaded_open(struct at_device *dev, struct at_loaded *loaded, struct at_log *log);
// Content hashes of the weights. The model is opened.
AT_NODISCARD bool at_loaded_hash(struct at_loaded *loaded, struct at_log *log);
void at_loaded_close(struct at_loaded *loaded); // the model and its adapters; names and hashes stay
void at_loaded_finish(struct at_loaded *loaded);
// The name of a file or folder, or of its folder if the file has the standard name. Freed with at_free.
char *at_lora_label(const char *path);
// A short name: "model", "model + run". The caller frees it with at_free.
char *at_loaded_label(const struct at_loaded *loaded);
// The model's folder name, "embedded" for the embedded one.
const char *at_loaded_name(const struct at_loaded *loaded);
// The guidance scale where none is given: what the embedded model was tried with, else what diffusers takes. It is open.
double at_loaded_cfg(const struct at_loaded *loaded);

#endif
