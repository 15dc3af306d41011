// SPDX-License-Identifier: Apache-2.0
// DDIM inversion: the noise from which deterministic sampling draws a given picture again, and how well it does.
//
// A picture goes through the autoencoder to latents, these step by step to noise, the noise by DDIM sampling back to
// latents and a picture. The step to timestep t is that of diffusers' DDIMInverseScheduler: the denoiser is asked at t, of
// the sample one step below. With `rounds` it is then refined by fixed-point iteration (core/diffusion/fixed_point.h).
#ifndef PIPELINES_SAMPLE_INVERT_H
#define PIPELINES_SAMPLE_INVERT_H

#include "pipelines/sample/sample.h"

struct at_invert_params {
    struct at_sample_params sample; // prompts, steps, guidance, size, adapters ... of both ways; the sampler is DDIM and
                                    // eta 0, whatever stands there. Guidance other than 1 inverts poorly and is warned of
    const float *pixels;            // the pictures, (count,height,width,3) in 0 .. 1, of the size in `sample`
    int rounds;                     // most fixed-point rounds a step; 0: the plain inversion
    double tolerance;               // a picture's step is done when its residual is no larger
};

// How a picture came back.
struct at_round_trip {
    // Largest residual of its steps, |x - step(next)| / |x| for the x that was left, before the first round and after the
    // last; without rounds 0.
    double residual_before, residual;
    double rounds;                    // a step, on average
    double latent_error;              // |back - latents| / |latents|
    double psnr, psnr_of_autoencoder; // of the picture drawn again, to the input and to what the autoencoder makes of it
    double psnr_bound;                // of what the autoencoder makes of the input, to the input. In decibels;
                                      // infinite: equal
};

struct at_inverted {
    int count, width, height;   // pictures, in pixels
    int h, w, channels;         // of latents
    float *latents, *noise;     // (count,h,w,C): scaled latents of the inputs (the posterior's mean), and what they become
    float *decoded, *drawn;     // (count,height,width,3) in 0 .. 1: by the autoencoder alone, and from the noise
    struct at_round_trip *trip; // (count)
};

// On failure *out is empty; else freed by at_inverted_finish.
AT_NODISCARD bool at_invert(struct at_model *m, const struct at_invert_params *params, struct at_inverted *out);
void at_inverted_finish(struct at_inverted *out); // a zeroed one is fine

#endif
