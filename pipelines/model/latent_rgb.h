// SPDX-License-Identifier: Apache-2.0
// What colours a model's latents mean, roughly: an affine map from a latent to RGB, fitted to the model's own decoder.
#ifndef PIPELINES_MODEL_LATENT_RGB_H
#define PIPELINES_MODEL_LATENT_RGB_H

#include "pipelines/model/model.h"

#define AT_LATENT_RGB_CHANNELS 64

struct at_latent_rgb {
    int channels;
    float map[3][AT_LATENT_RGB_CHANNELS + 1]; // r = sum_c map[0][c] z[c] + map[0][channels], in -1 .. 1
};

// Least squares between smooth random latents and the mean colours that each decodes to. False (logged) if the device
// fails or the latents have more channels than fit.
AT_NODISCARD bool at_latent_rgb_fit(struct at_model *m, struct at_latent_rgb *out);
// Scaled latents (pixels,C) to colours (pixels,3) in -1 .. 1, not clamped.
void at_latent_rgb_apply(const struct at_latent_rgb *rgb, const float *latents, int64_t pixels, float *colours);

#endif
