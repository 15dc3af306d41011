// SPDX-License-Identifier: Apache-2.0
// Files of latents to begin a picture from, as `attune invert` writes them: safetensors with the tensor "latents"
// (N,C,h,w) in diffusers' order, so that its pipelines take them as `latents=`, and under the metadata key "attune" what
// they are, as JSON:
//     {"prompts": [one a latent], "negative": "", "steps": 25, "cfg": 1, "model": {"path", "unet_sha256"}, ...}
// A file without that key is fine; so is one of a single latent (C,h,w).
#ifndef DATASETS_LATENTS_H
#define DATASETS_LATENTS_H

#include "core/io/json.h"

#define AT_LATENTS_MOST 4096

struct at_latents {
    int count, height, width, channels;
    float *values; // (count,h,w,C), all of them finite
    // From the metadata; texts live as long as this does.
    const char **prompts;     // `count` of them, or NULL
    const char *negative;     // NULL: not said, as below
    const char *unet_sha256;
    int steps;                // 0: not said
    double cfg;               // 0: not said
    struct at_json_doc *about;
};

// On failure *latents is empty; else freed by at_latents_finish.
AT_NODISCARD bool at_latents_read(struct at_log *log, const char *path, struct at_latents *latents);
// The same from memory; `name` stands in messages.
AT_NODISCARD bool at_latents_parse(struct at_log *log, const char *name, const void *bytes, size_t size,
                                   struct at_latents *latents);
void at_latents_finish(struct at_latents *latents); // a zeroed one is fine
// Replaces the file `path` with count, sizes, values and about, which must have the fields above.
AT_NODISCARD bool at_latents_write(struct at_log *log, const char *path, const struct at_latents *latents);

#endif
