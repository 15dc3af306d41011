// SPDX-License-Identifier: Apache-2.0
// Internal to pipelines: a batch of pictures on its way, for jobs that lead it otherwise than a sampler does (invert.c).
// at_sample embeds texts, fits the batch into memory and runs the denoiser with adapters and guidance; the job decides at
// which timesteps, and what becomes of the samples.
#ifndef PIPELINES_SAMPLE_WALK_H
#define PIPELINES_SAMPLE_WALK_H

#include "core/base/log.h"

struct at_walk {
    struct at_log *log;
    int first, count; // the batch's pictures: numbers first .. first + count - 1 of the call
    int steps;        // asked for; 1 where memory is measured
    size_t latent;    // floats of a sample
    float *x;         // (count,h,w,C): the samples; they begin as the call's `init`
    const float *y;   // (count,h,w,C): the guided output of the last prediction
    // Runs the denoiser on all x at a timestep; y holds what came out.
    bool (*predict)(struct at_walk *walk, double timestep);
    // Reports `done` more steps (0: none). False (logged) if the work is to stop.
    bool (*tick)(struct at_walk *walk, double done);
};

#endif
