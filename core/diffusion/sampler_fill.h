// SPDX-License-Identifier: Apache-2.0
// Inside core/diffusion: what makes the steps of each sampler.
#ifndef CORE_DIFFUSION_SAMPLER_FILL_H
#define CORE_DIFFUSION_SAMPLER_FILL_H

#include "core/diffusion/sampler.h"

// Fills out->step[0 .. count) and init_scale.
typedef bool at_sampler_fill(const struct at_schedule *s, const struct at_sampler_params *p, struct at_sampler *out,
                             struct at_log *log);
at_sampler_fill at_fill_ddim, at_fill_ddpm, at_fill_euler, at_fill_euler_ancestral, at_fill_dpmpp_2m, at_fill_lcm;

// sigma = sqrt((1 - a) / a) at every training timestep, in float as torch has it, into out (train_steps values). With zero
// terminal SNR the last a is taken as 2^-24.
void at_sigma_table(const struct at_schedule *s, float *out);
// The table at t, which need not be whole: between neighbours, linearly.
double at_sigma_at(const float *table, int n, double t);
// The timestep of a sigma: between neighbours, linear in log sigma.
double at_sigma_timestep(const float *table, int n, double sigma);
// count levels from `high` down to `low`, evenly spaced in sigma^(1/7).
void at_sigma_karras(double low, double high, int count, double *out);
// sigma to the lowest level of a run: 0, or that of the table under final_sigmas_type "sigma_min".
double at_sigma_last(const struct at_schedule *s, const float *table);
// x0 from x at noise level sigma, where x = alpha (x0 + sigma eps): alpha is 1 (Euler) or 1 / sqrt(1 + sigma^2).
void at_sigma_x0(enum at_prediction prediction, double sigma, bool scaled, struct at_sampler_step *step);

#endif
