// SPDX-License-Identifier: Apache-2.0
// Samplers: a run from noise to an image as a list of linear steps.
//
//     struct at_sampler *s = at_sampler_create(schedule, &(struct at_sampler_params){.steps = 25}, log);
//     x = s->init_scale * normals;
//     for (int i = 0; i < s->count; i++) {
//         y = network(s->step[i].in_scale * x, s->step[i].timestep);
//         at_sampler_apply(&s->step[i], x, y, x0, normals of step i, n);     // x0 remembers; any values before step 0
//     }
//     at_sampler_destroy(&s);
//
// Each sampler agrees with the class of diffusers that it is named after; see README.md for the exceptions.
#ifndef CORE_DIFFUSION_SAMPLER_H
#define CORE_DIFFUSION_SAMPLER_H

#include "core/diffusion/schedule.h"

struct at_sampler_params {
    int steps;
    enum at_sampler_kind kind; // AT_SAMPLER_CONFIG: the one of the schedule's file
    double eta;                // DDIM: 0 deterministic .. 1 DDPM's noise; others: 0
    bool karras;               // Euler and DPM-Solver++: noise levels of Karras et al. (arXiv 2206.00364, eq. 5, rho 7)
};

// x0 = x0_x x + x0_y y, clamped to +-clip if clip > 0;
// x becomes next_x x + next_y y + next_x0 x0 + next_before (x0 of the step before) + noise z.
struct at_sampler_step {
    double timestep; // what the network is told; Euler's need not be whole
    double in_scale; // of x, for the network
    double x0_x, x0_y, clip;
    double next_x, next_y, next_x0, next_before, noise;
};

struct at_sampler {
    enum at_sampler_kind kind;
    double init_scale; // of the noise that a run begins with
    int count;
    struct at_sampler_step *step;
};

// NULL with the reason in the log: the number of steps, eta or a setting does not go with the sampler or the schedule.
struct at_sampler *at_sampler_create(const struct at_schedule *schedule, const struct at_sampler_params *params,
                                     struct at_log *log);
void at_sampler_destroy(struct at_sampler **sampler);

// x (count values) goes to the next sample in place. y: the network's output. x0 holds the prediction of the step before
// and receives that of this one. z: standard normals, read only if step->noise > 0.
void at_sampler_apply(const struct at_sampler_step *step, float *x, const float *y, float *x0, const float *z,
                      size_t count);

// "config", "ddim", "euler_a", ... by kind; NULL at the end. The same in words, for messages.
extern const char *const at_sampler_names[];
#define AT_SAMPLER_WORDS "ddim, ddpm, euler, euler_a, dpmpp_2m and lcm"
// The sampler of that name, or of kohya's and k-diffusion's names for it ("k_euler", "dpmsolver++"); -1: none.
int at_sampler_find(const char *name);
// As in A1111's metadata: "DDIM", "Euler a", "DPM++ 2M" ...
const char *at_sampler_label(enum at_sampler_kind kind);

#endif
