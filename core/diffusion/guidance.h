// SPDX-License-Identifier: Apache-2.0
// Classifier-free guidance (arXiv 2207.12598), and the rescaling of its result (arXiv 2305.08891).
#ifndef CORE_DIFFUSION_GUIDANCE_H
#define CORE_DIFFUSION_GUIDANCE_H

#include <stddef.h>

struct at_guidance {
    double scale;   // w; 1: the prediction of the prompt alone
    double rescale; // phi, 0 .. 1: how far the result is brought back to the spread of the prompt's prediction
};

// y = negative + w (prompt - negative), for one sample of `count` values; then, eq. 15 and 16 of 2305.08891 (diffusers'
// guidance_rescale), y = phi y std(prompt) / std(y) + (1 - phi) y. y may be `negative` or `prompt`.
void at_guide(const struct at_guidance *g, const float *negative, const float *prompt, float *y, size_t count);

#endif
