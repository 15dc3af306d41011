// SPDX-License-Identifier: Apache-2.0
// Pictures in the making: what a sampler predicts its latents to become, every few steps.
//
//     struct at_preview *p = at_preview_open(m, &(struct at_preview_params){.every = 5, .show = show});
//     at_sample(m, &(struct at_sample_params){.preview = p, ...}, pixels, NULL);
//     at_preview_close(&p);
#ifndef PIPELINES_SAMPLE_PREVIEW_H
#define PIPELINES_SAMPLE_PREVIEW_H

#include "core/io/image.h"
#include "pipelines/model/latent_rgb.h"

// A sheet of the pictures that are drawn together, or of the first of them.
struct at_preview_sheet {
    struct at_image image; // until `show` returns
    int first;             // of the pictures of that at_sample
    int step, steps;       // done, and in all
};

struct at_preview_params {
    int every;       // steps
    const char *vae; // folder of an autoencoder for the model's latents (vae_folder.h); NULL: see at_preview_way
    bool colours;    // do not decode at all
    // False (logged) ends the sampling as failed.
    bool (*show)(void *priv, const struct at_preview_sheet *sheet);
    void *priv;
};

// By what a latent is shown: the autoencoder of `vae`, else the model's own, if that adds at most a quarter to the work,
// else colours that are guessed from each latent alone.
enum at_preview_way { AT_PREVIEW_VAE, AT_PREVIEW_FULL, AT_PREVIEW_COLOURS };

struct at_preview {
    struct at_preview_params params;
    struct at_model *vae; // of params.vae
    struct at_latent_rgb rgb;
    int height, width, copies; // of the latents, for which `way` holds
    enum at_preview_way way, shown; // what was chosen, and how the last one was made
};

// NULL with the reason in the log: the folder is no autoencoder, or not for these latents. The model needs its autoencoder.
struct at_preview *at_preview_open(struct at_model *m, const struct at_preview_params *params);
void at_preview_close(struct at_preview **preview);

// For at_sample. Chooses the way for latents of this size; `copies`: denoiser runs a step.
AT_NODISCARD bool at_preview_begin(struct at_preview *p, const struct at_model *m, int height, int width, int copies);
// A copy that works on another device at every step and shows nothing, to count what it takes. Closed by at_preview_forget.
AT_NODISCARD bool at_preview_try(const struct at_preview *p, struct at_device *dry, struct at_log *log,
                                 struct at_preview *out);
void at_preview_forget(struct at_preview *copy);
// Shows `count` predicted latents (count,h,w,C), if this step is one to be shown.
AT_NODISCARD bool at_preview_step(struct at_preview *p, struct at_model *m, const float *x0, int count,
                                  const struct at_preview_sheet *at);
// Frees what a shown step left compiled. NULL is fine.
void at_preview_rest(struct at_preview *p);
// In words, for a message: "the model's own autoencoder".
const char *at_preview_words(const struct at_preview *p);

// Pixels in -1 .. 1 (count,height,width,3) as one sheet, at most about 2048 pixels high and wide: as many of the first
// pictures as that holds. Pictures smaller than `width` x `height` are enlarged to it.
struct at_sheet_params {
    const float *pixels;
    int count, height, width;       // of pixels
    int to_height, to_width; // of a picture on the sheet
};
AT_NODISCARD bool at_sheet_draw(struct at_log *log, const struct at_sheet_params *params, struct at_image *sheet);

#endif
