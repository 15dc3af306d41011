// SPDX-License-Identifier: Apache-2.0
// Writing a whole model, a piece of a weight at a time: as a folder in the layout of diffusers, or as one file in the
// layout of the original repositories. It appears whole or not at all.
#ifndef PIPELINES_SOURCE_SOURCE_WRITE_H
#define PIPELINES_SOURCE_SOURCE_WRITE_H

#include "pipelines/source/model_source.h"

struct at_source_write_params {
    const char *out;        // ends in .safetensors: one file; else a folder, which must not be there, or be empty
    bool replace;           // a file of that name
    bool convert;           // all weights to `dtype`; else each stays of the type it has (F64 that is changed: F32)
    enum at_st_dtype dtype; // F32, F16 or BF16
    // What is done to weights on their way, named as in diffusers. `changes`: whether anything; NULL: nothing, to all.
    // `change`: to the values [first, first + n) of one that is changed; false (logged) ends the writing. Results are
    // rounded once.
    bool (*changes)(void *priv, const char *component, const struct at_st_tensor *t);
    bool (*change)(void *priv, const char *component, const struct at_st_tensor *t, uint64_t first, size_t n,
                   double *values);
    bool (*progress)(void *priv, double done); // false stops with AT_ERROR_INTERRUPTED. May be NULL
    void *priv;
};

// A folder gets all that the model has, also what is not read here (a safety checker). A file holds denoiser,
// autoencoder and text encoders of SD 1.x, SD 2.x or SDXL; what its readers would take for another model, as the file
// does not say heads or schedules, is refused by what differs.
AT_NODISCARD bool at_source_write(const struct at_model_source *source, const struct at_source_write_params *params);
// Whether `out` may be written: said before a model is opened.
AT_NODISCARD bool at_source_write_check(struct at_log *log, const struct at_source_write_params *params);
bool at_source_write_is_file(const char *out); // by its name; such a file has no tokenizer

#endif
