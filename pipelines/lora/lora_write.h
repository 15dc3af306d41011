// SPDX-License-Identifier: Apache-2.0
// Writes an adapter in any dialect.
#ifndef PIPELINES_LORA_LORA_WRITE_H
#define PIPELINES_LORA_LORA_WRITE_H

#include "pipelines/lora/lora_data.h"

struct at_lora_write_params {
    const char *path; // of the file; of peft a folder, with one more below it for each component if there are several
    enum at_lora_dialect dialect;
    bool convert;            // all values to `dtype`; else each half stays what it is (F64 becomes F32)
    enum at_st_dtype dtype;  // F32, F16 or BF16
    const char *base;        // what kohya calls the base model ("sd_v1", "sdxl_base_v1-0"); NULL: not known
    const char *architecture; // "stable-diffusion-v1/lora"; NULL: not known
};

// Replaces the file, or files. The effect alpha / rank * up(down(x)) is kept: where the dialect has no place for alpha
// it goes into `up`. Metadata of the source are carried over, but for what no longer holds. All dialects but diffusers'
// need the data to be read with a list of layers.
AT_NODISCARD bool at_lora_write(const struct at_lora_data *data, const struct at_lora_write_params *params);

#endif
