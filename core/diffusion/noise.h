// SPDX-License-Identifier: Apache-2.0
// The standard normals of pictures that are drawn together: each has its own seed, and its noise depends on that alone.
//
//     struct at_noise *n = at_noise_create(&(struct at_noise_params){AT_RNG_TORCH, 2, 8, 8, 4}, log);
//     at_noise_seed(n, 0, 42);
//     at_noise_initial(n, 0, x);          // then, in the order of the steps, those that add noise:
//     const float *z = at_noise_step(n, 0, step);
//     at_noise_destroy(&n);
#ifndef CORE_DIFFUSION_NOISE_H
#define CORE_DIFFUSION_NOISE_H

#include "core/base/log.h"

#include <stdint.h>

enum at_rng_kind {
    AT_RNG_ATTUNE, // Philox (base/rng.h): a step's noise does not hang on the steps before it
    AT_RNG_TORCH,  // one torch.Generator on the CPU a picture, as a list of generators in diffusers, in float32
};
// "attune", "torch"; NULL at the end.
extern const char *const at_rng_names[];

struct at_noise_params {
    enum at_rng_kind kind;
    int pictures;
    int height, width, channels; // of a latent
};

struct at_noise;

// NULL (logged): no memory.
struct at_noise *at_noise_create(const struct at_noise_params *params, struct at_log *log);
void at_noise_destroy(struct at_noise **noise);

// Begins a picture.
void at_noise_seed(struct at_noise *n, int picture, uint64_t seed);
// What a run begins with, (h,w,C), not scaled. Called once after a seed, or not at all where the latents are given.
void at_noise_initial(struct at_noise *n, int picture, float *out);
// What step `step` adds, (h,w,C), valid until the next call. Called for the steps with noise > 0 of a sampler, in order:
// those are the draws of diffusers' schedulers, but for some at the end of a run, which nothing follows.
const float *at_noise_step(struct at_noise *n, int picture, int step);

#endif
