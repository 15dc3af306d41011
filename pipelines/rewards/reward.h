// SPDX-License-Identifier: Apache-2.0
// Rewards: a number for one picture and its prompt, higher is better. One file a reward, listed in reward.c.
//
//     const struct at_reward *reward = at_reward_find(log, "fidelity");
//     struct at_truth *truth = at_truth_open(log, NULL);                  // what rewards may look things up in
//     struct at_picture picture = {.prompt = "red apple", .rgb = pixels, .width = 32, .height = 32};
//     if (reward && truth && at_reward_score(log, reward, truth, &picture, &score)) ...
#ifndef PIPELINES_REWARDS_REWARD_H
#define PIPELINES_REWARDS_REWARD_H

#include "core/base/log.h"
#include "pipelines/rewards/truth.h"

#include <stddef.h>

struct at_picture {
    const char *prompt;
    const float *rgb; // (height,width,3) in 0 .. 1
    int width, height;
};

struct at_reward {
    const char *name;
    const char *about; // one line: what it measures, in which unit
    bool needs_truth;  // the prompt must have a true picture
    bool (*score)(struct at_log *log, struct at_truth *truth, const struct at_picture *picture, double *out);
};

// All rewards, NULL at the end.
extern const struct at_reward *const at_rewards[];
// By name; an unknown one is an error (AT_ERROR_USAGE) that lists what there is. NULL then.
const struct at_reward *at_reward_find(struct at_log *log, const char *name);
// Scores one picture. `truth` may be NULL for a reward that does not need it. False with the reason logged: a picture
// that is no picture (AT_ERROR_INPUT), a prompt without a true picture (AT_ERROR_INPUT), no memory.
AT_NODISCARD bool at_reward_score(struct at_log *log, const struct at_reward *reward, struct at_truth *truth,
                                  const struct at_picture *picture, double *out);

// The rewards.
// fidelity: minus the mean squared error to the true picture of the prompt, both as 16x16 in -1 .. 1 (testbed.md 5).
extern const struct at_reward at_reward_fidelity;
// saturation: mean of max(R,G,B) - min(R,G,B) over the pixels that are not background, which is min >= .85. 0 where
// there is none.
extern const struct at_reward at_reward_saturation;
// taste: fidelity and saturation together, each in units of how much it varies between seeds of one prompt.
extern const struct at_reward at_reward_taste;

// taste = fidelity / AT_TASTE_FIDELITY + saturation / AT_TASTE_SATURATION. The units are standard deviations between
// the seeds of one prompt, measured once on samples of the embedded model and rounded, so that both parts weigh alike.
#define AT_TASTE_FIDELITY 0.012
#define AT_TASTE_SATURATION 0.055

#endif
