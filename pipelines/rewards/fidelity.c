// SPDX-License-Identifier: Apache-2.0
#include "pipelines/rewards/reward.h"

static bool score(struct at_log *log, struct at_truth *truth, const struct at_picture *picture, double *out)
{
    const float *right = at_truth_find(log, truth, picture->prompt);
    if (!right)
        return false;
    float small[AT_TRUTH_VALUES];
    at_truth_reduce(picture->rgb, picture->width, picture->height, small);
    *out = -at_truth_error(small, right);
    return true;
}

const struct at_reward at_reward_fidelity = {
    .name = "fidelity",
    .about = "minus the mean squared error to the emoji's true picture, both 16x16 in -1 .. 1; 0 is best",
    .needs_truth = true,
    .score = score,
};
