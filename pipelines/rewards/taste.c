// SPDX-License-Identifier: Apache-2.0
#include "pipelines/rewards/reward.h"

static bool score(struct at_log *log, struct at_truth *truth, const struct at_picture *picture, double *out)
{
    double fidelity, saturation;
    if (!at_reward_fidelity.score(log, truth, picture, &fidelity) ||
        !at_reward_saturation.score(log, truth, picture, &saturation))
        return false;
    *out = fidelity / AT_TASTE_FIDELITY + saturation / AT_TASTE_SATURATION;
    return true;
}

const struct at_reward at_reward_taste = {
    .name = "taste",
    .about = "the demo's rule: true to the name, and vivid (fidelity and saturation, weighing alike)",
    .needs_truth = true,
    .score = score,
};
