// SPDX-License-Identifier: Apache-2.0
// What a denoiser puts out, told by its output: a model file may name the wrong prediction type, or none.
#ifndef CORE_DIFFUSION_LIKENESS_H
#define CORE_DIFFUSION_LIKENESS_H

#include "core/diffusion/schedule.h"

// The timestep where signal and noise are most nearly equal: there eps, v and x0 are least like each other.
int at_schedule_middle(const struct at_schedule *schedule);

// Where y, the output for at_diffuse(schedule, t, x0, noise), lies in the plane of noise and x0: `angle` from the noise
// towards x0, in degrees. eps lies at 0, x0 at 90, v at about -45; a denoiser that is unsure leans from eps and x0 towards
// the middle between them, and from v nowhere.
struct at_likeness {
    double angle, length; // length: the part of y that lies in the plane, 0 .. 1
    double target[3];     // the angle of each target, by enum at_prediction
    enum at_prediction best;
    bool doubtful; // y is plainly like `best`, which is not the schedule's
};
void at_likeness_measure(const struct at_schedule *schedule, int t, const float *x0, const float *noise, const float *y,
                         size_t count, struct at_likeness *out);

#endif
