// SPDX-License-Identifier: Apache-2.0
// Files of prompts to sample. Two forms are read:
//   - text, one prompt a line, # starts a comment line; after the prompt may stand --n NEGATIVE, --w WIDTH, --h HEIGHT,
//     --d SEED, --s STEPS, --l SCALE, --ss SAMPLER (the names of kohya's sd-scripts);
//   - .json: an array of strings or of objects {"prompt", "negative_prompt", "width", "height", "seed", "sample_steps",
//     "scale", "sample_sampler"}, or an object with such an array under "prompts"; "negative", "steps", "cfg" and
//     "sampler" are understood too.
#ifndef DATASETS_PROMPTS_H
#define DATASETS_PROMPTS_H

#include "core/base/log.h"
#include "core/diffusion/sampler.h"

#include <stdint.h>

struct at_prompt {
    const char *text;
    const char *negative;     // NULL: not given
    int width, height, steps; // 0: not given
    enum at_sampler_kind sampler; // AT_SAMPLER_CONFIG: not given
    bool has_seed, has_cfg;
    uint64_t seed;
    double cfg;
    size_t line; // in a text file; in JSON the position, from 1
};

struct at_prompts {
    size_t count, capacity;
    struct at_prompt *items;
    struct at_arena *strings;
};

// All that is wrong is named, with file and line. A file without a prompt is an error. On failure *prompts is empty;
// else it is freed by at_prompts_finish.
AT_NODISCARD bool at_prompts_read(struct at_log *log, const char *path, struct at_prompts *prompts);
// The same from memory; `name` stands in messages, and says by its end whether this is JSON.
AT_NODISCARD bool at_prompts_parse(struct at_log *log, const char *name, const void *bytes, size_t size,
                                   struct at_prompts *prompts);
// Adds one prompt without settings, copying the text.
AT_NODISCARD bool at_prompts_add(struct at_log *log, struct at_prompts *prompts, const char *text);
void at_prompts_finish(struct at_prompts *prompts); // a zeroed one is fine

#endif
