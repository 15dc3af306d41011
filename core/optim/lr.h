// SPDX-License-Identifier: Apache-2.0
// Learning-rate schedules: the factor on the base rate at each step, as diffusers.optimization.get_scheduler gives it.
#ifndef CORE_OPTIM_LR_H
#define CORE_OPTIM_LR_H

#include "core/base/log.h"

#include <stdint.h>

enum at_lr_kind {
    AT_LR_CONSTANT, // ignores warm-up, as diffusers does
    AT_LR_CONSTANT_WITH_WARMUP,
    AT_LR_LINEAR,
    AT_LR_COSINE, // half a cosine
};

// Zero = a constant rate.
struct at_lr {
    enum at_lr_kind kind;
    int64_t warmup; // steps in which the factor rises linearly from 0 to 1
    int64_t total;  // step at which linear and cosine reach the floor; they stay there
    double floor;   // 0 .. 1; lowest factor of linear and cosine after the warm-up
};

// The factor for optimiser step `step` (0 = the first). With a warm-up the first step's factor is 0.
double at_lr_factor(const struct at_lr *lr, int64_t step);
// "constant", "constant_with_warmup", "linear" or "cosine"; false with the reason in the log for any other.
AT_NODISCARD bool at_lr_kind_parse(const char *name, enum at_lr_kind *kind, struct at_log *log);
// Whether the fields are in range and the warm-up ends before `total`.
AT_NODISCARD bool at_lr_validate(const struct at_lr *lr, struct at_log *log);

#endif
