// SPDX-License-Identifier: Apache-2.0
// Pictures on disk: their names, and what is written into them about how they were made.
#ifndef TOOLS_PICTURE_FILE_H
#define TOOLS_PICTURE_FILE_H

#include "core/diffusion/noise.h"
#include "core/diffusion/sampler.h"
#include "core/io/image.h"
#include "tools/models.h"

// How one picture was made.
struct at_picture_note {
    const char *prompt, *negative; // negative may be NULL
    uint64_t seed;
    int steps, width, height;
    enum at_sampler_kind sampler; // AT_SAMPLER_CONFIG until it is drawn
    int clip_skip;
    int vae_tile; // pixels of the autoencoder's tiles; 0: it took the picture whole
    int original_width, original_height, crop_left, crop_top; // told to SDXL; size 0: the picture's
    bool karras;
    double cfg, cfg_rescale, eta;
    enum at_rng_kind rng;
    const char *latents; // file that it began from, and which of its latents; NULL: from the seed
    int latent;
    const struct at_loaded *loaded; // hashed
    const struct at_device *dev;
};

// What the web UIs write under the PNG key "parameters". The caller frees it with at_free; NULL: no memory.
char *at_picture_parameters(const struct at_picture_note *note);
// The same and more as JSON, for the key "attune".
char *at_picture_json(struct at_log *log, const struct at_picture_note *note);
AT_NODISCARD bool at_picture_save(struct at_log *log, const char *path, const struct at_image *image,
                                  const struct at_picture_note *note);

// The number after the largest that a file in the folder begins with; 1 for an empty or missing folder.
AT_NODISCARD bool at_picture_next_number(struct at_log *log, const char *dir, int64_t *number);
// "00012-SEED-a-red-kite.png": the prompt in lower case, cut after about 48 bytes, between characters. Freed with
// at_free.
char *at_picture_name(int64_t number, uint64_t seed, const char *prompt);

#endif
