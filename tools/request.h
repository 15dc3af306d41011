// SPDX-License-Identifier: Apache-2.0
// What pictures are asked for on the command line, and their making.
#ifndef TOOLS_REQUEST_H
#define TOOLS_REQUEST_H

#include "datasets/prompts.h"
#include "tools/cli.h"
#include "tools/picture_file.h"

struct at_request {
    const char *negative, *file;
    struct at_texts texts;
    uint64_t seed;
    int count, steps, width, height, batch;
    int sampler; // enum at_sampler_kind
    int clip_skip;
    const char *original, *crop; // as they were typed
    int original_width, original_height, crop_left, crop_top;
    bool karras;
    double cfg, cfg_rescale, eta;
    int rng; // enum at_rng_kind
    const struct at_latents *latents; // that pictures begin from, and their file; NULL: from the seeds
    const char *latents_path;
    bool latents_by_prompt; // prompt i from latents i; else picture k of every prompt from latents k
    bool quiet;
    size_t memory_limit;
    const char *tile_word;
    int vae_tile; // of tile_word, see pipelines/tiles.h
    struct at_prompts prompts; // of --prompt-file, then of --prompt
};

// Of --cfg-rescale and --rng, wherever they are.
#define AT_REQUEST_RESCALE "how far guidance is brought back to the contrast of the prompt alone, against burnt colours"
#define AT_REQUEST_RNG "what seeds mean: attune's own noise, or that of torch on the CPU, for the picture of diffusers"

#define AT_REQUEST_DEFAULTS {.count = 1}

// --prompt, --prompt-file, --negative, --count, --seed, --steps, --cfg, --cfg-rescale, --clip-skip, --eta, --rng, --width,
// --height, --original-size, --crop, --batch, --memory-limit, --vae-tile, --quiet
void at_request_options(struct at_options *options, struct at_request *request);
// Fills in `prompts`; no prompt is a usage error.
AT_NODISCARD bool at_request_read(struct at_request *request, const struct at_usage *usage, struct at_log *log);
// False if the text of an option is not UTF-8, which would be refused only when the picture is saved. NULL is fine.
AT_NODISCARD bool at_request_text(struct at_log *log, const char *option, const char *text);
void at_request_finish(struct at_request *request);

// One note a picture, prompt by prompt, each with its `count` seeds: the settings of the prompt's own line, else those
// of the command line, else those of the model, which is open. Freed with at_free; NULL on failure.
struct at_picture_note *at_request_notes(const struct at_request *request, const struct at_loaded *loaded,
                                         const struct at_device *dev, int *total, struct at_log *log);

struct at_draw_params {
    const struct at_request *request;
    struct at_loaded *loaded; // open
    struct at_picture_note *notes;
    struct at_preview *preview; // NULL: none
    int total;
    int before, all; // progress: pictures made before these, and of all calls together
    // Takes picture i, pixels (height,width,3) in 0 .. 1; the note's size is filled in by then. False ends the work.
    bool (*take)(void *priv, int i, const struct at_picture_note *note, const float *pixels);
    void *priv;
};
AT_NODISCARD bool at_draw(struct at_cli *cli, const struct at_draw_params *params);

#endif
