// SPDX-License-Identifier: Apache-2.0
// All that a denoiser is told of a sample beside its noisy latent and its timestep, as one row of floats, so that
// whoever carries rows need not know what is in them:
//   [ text (text.h) | the sizes of SDXL, 6 | the guidance embedding of a latent consistency model ]
// SD 1.x and 2.x have the text alone.
#ifndef PIPELINES_MODEL_CONDITION_H
#define PIPELINES_MODEL_CONDITION_H

#include "core/models/unet.h"

// In the order of the time ids of diffusers' StableDiffusionXLPipeline, in pixels.
struct at_sizes {
    int original_height, original_width; // of the picture as it was found
    int top, left;                       // where it was cut, after scaling
    int height, width;                   // what is wanted
};
#define AT_SIZES 6
// As of a whole picture of that size.
struct at_sizes at_sizes_whole(int height, int width);
void at_sizes_fill(const struct at_sizes *s, float row[AT_SIZES]);

// Floats of a row for texts of so many tokens.
size_t at_condition_floats(const struct at_unet_config *u, int tokens);

struct at_condition {
    const float *text;            // a row of text
    const struct at_sizes *sizes; // for models that read them
    double guidance;              // for latent consistency models: the guidance scale, of which they read w = scale - 1
};
void at_condition_fill(const struct at_unet_config *u, int tokens, const struct at_condition *c, float *row);

// The denoiser on x (N,h,w,C) at timesteps t (N), told rows (N,floats): its output, as at_unet.
struct at_node *at_condition_unet(struct at_builder *b, const struct at_unet_config *u, struct at_node *x,
                                  struct at_node *t, struct at_node *rows);

// The embedding of w = guidance - 1 that diffusers' get_guidance_scale_embedding makes of 1000 w, in its float steps:
// [sin | cos], a zero after them if `dim` is odd.
void at_guidance_embed(double guidance, int dim, float *out);

#endif
