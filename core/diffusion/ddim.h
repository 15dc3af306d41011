// SPDX-License-Identifier: Apache-2.0
// DDIM (arXiv 2010.02502): sampling with eta, and its inversion, as coefficients and on arrays.
//
//     struct at_ddim d;
//     if (!at_ddim_step(s, &(struct at_ddim_params){.t = t[i], .steps = n, .eta = 0}, &d, log)) ...
//     at_ddim_apply(&d, x, y, NULL, NULL, count);   // x becomes the sample at the previous timestep
#ifndef CORE_DIFFUSION_DDIM_H
#define CORE_DIFFUSION_DDIM_H

#include "core/diffusion/schedule.h"

struct at_ddim_params {
    int t;            // the timestep of the sample (inversion: the one it is taken to)
    int steps;        // of the run: the stride is train_steps / steps
    double eta;       // 0: deterministic; 1: DDPM's noise. 0 .. 1
    bool clipped_eps; // diffusers' use_clipped_model_output: eps is derived anew from the clipped x0
};

// One step: x0 = x0_x x + x0_y y, clamped to +-clip if clip > 0; eps = eps_x x + eps_y y, or (x - root_alpha x0) /
// root_beta under clipped_eps; x_next = next_x0 x0 + next_eps eps + sigma z.
struct at_ddim {
    double x0_x, x0_y, eps_x, eps_y;
    double next_x0, next_eps, sigma;
    double clip;
    bool clipped_eps;
    double root_alpha, root_beta;
    // Without clipping the step's mean is mean_x x + mean_y y: what the log-probability of a sampling step needs.
    double mean_x, mean_y;
    // How the step follows x while the output stays as it is; under sample prediction, while the noise it implies does: a
    // sample prediction itself must follow an x with hardly any noise.
    double pull;
};

// False with the reason in the log: t or eta out of range, or a noise level where the prediction type does not
// determine x0 (epsilon at zero signal) or eps (sample at zero noise).
AT_NODISCARD bool at_ddim_step(const struct at_schedule *schedule, const struct at_ddim_params *params,
                               struct at_ddim *out, struct at_log *log);
// The inverse step to timestep params->t from the one below it (diffusers' DDIMInverseScheduler); eta must be 0.
AT_NODISCARD bool at_ddim_inverse_step(const struct at_schedule *schedule, const struct at_ddim_params *params,
                                       struct at_ddim *out, struct at_log *log);

// x (count values) goes to the next sample in place. y: the network's output. z: standard normals, read only if
// sigma > 0 (NULL: no noise). x0: receives the predicted clean sample, or NULL.
void at_ddim_apply(const struct at_ddim *step, float *x, const float *y, const float *z, float *x0, size_t count);

// How far a step from x (y: the network's output there) misses the sample `next`: |next - step(x)| / |next|. gap receives
// (next - step(x)) / pull: x + gap is one fixed-point iteration of inverting the step. Without noise.
double at_ddim_gap(const struct at_ddim *step, const float *x, const float *y, const float *next, float *gap,
                   size_t count);

// Forward process at timestep t: out = sqrt(a) x0 + sqrt(1 - a) noise. out may be x0 or noise.
void at_diffuse(const struct at_schedule *schedule, int t, const float *x0, const float *noise, float *out,
                size_t count);
// What the network should put out for that pair: the noise, the velocity or the sample. out may be x0 or noise.
void at_diffuse_target(const struct at_schedule *schedule, int t, const float *x0, const float *noise, float *out,
                       size_t count);

#endif
