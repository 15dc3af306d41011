// SPDX-License-Identifier: Apache-2.0
// DDIM inversion by fixed-point iteration: a step of inversion as diffusers takes it asks the network at the sample it
// leaves, where the step of sampling that it is to undo asks at the sample it reaches. Here that sample is sought: the x
// at timestep t from which the sampling step leads exactly back (Pan et al. 2023, arXiv 2309.04907; ReNoise, 2403.14602).
//
//     at_fixed_point_begin(&f, before);                      // one picture; x holds the result of the plain step
//     do
//         y = network(x, t);
//     while (at_fixed_point_update(&f, &step, x, y) ...);    // step: of sampling, from t
#ifndef CORE_DIFFUSION_FIXED_POINT_H
#define CORE_DIFFUSION_FIXED_POINT_H

#include "core/diffusion/ddim.h"

struct at_fixed_point {
    size_t count;        // values of a picture
    double tolerance;    // x stays where the residual is no larger
    float *target;       // where the sampling step must lead
    float *best, *gap;   // the x of the smallest residual so far, and what at_ddim_gap says of it
    double first, least; // residual of the first x and of the best: |target - step(x)| / |target|
    double weight;       // of the gap in the next x: halved whenever the residual grew
    int rounds;          // updates so far
};

// False (logged): no memory.
AT_NODISCARD bool at_fixed_point_init(struct at_fixed_point *f, size_t count, double tolerance, struct at_log *log);
void at_fixed_point_finish(struct at_fixed_point *f);

void at_fixed_point_begin(struct at_fixed_point *f, const float *target);
// y: the network's output at x and the step's timestep. x goes to the next guess. False when it stays: the residual of x
// is within the tolerance, or not finite.
bool at_fixed_point_update(struct at_fixed_point *f, const struct at_ddim *step, float *x, const float *y);

#endif
