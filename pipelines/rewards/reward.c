// SPDX-License-Identifier: Apache-2.0
#include "pipelines/rewards/reward.h"


#include <stdio.h>
#include <string.h>

const struct at_reward *const at_rewards[] = {&at_reward_fidelity, &at_reward_saturation, &at_reward_taste, NULL};

const struct at_reward *at_reward_find(struct at_log *log, const char *name)
{
    char names[256] = "";
    size_t used = 0;
    for (size_t i = 0; at_rewards[i]; i++) {
        if (strcmp(at_rewards[i]->name, name) == 0)
            return at_rewards[i];
        int n = snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "", at_rewards[i]->name);
        used = n > 0 && used + (size_t)n < sizeof(names) ? used + (size_t)n : sizeof(names) - 1;
    }
    (void)at_fail(log, AT_ERROR_USAGE, "no reward is called \"%s\"; use one of: %s", name, names);
    return NULL;
}

bool at_reward_score(struct at_log *log, const struct at_reward *reward, struct at_truth *truth,
                     const struct at_picture *picture, double *out)
{
    if (picture->width < 1 || picture->height < 1 || !picture->rgb)
        return at_fail(log, AT_ERROR_INPUT, "reward %s: a picture of %d x %d pixels for \"%s\"; nothing to score",
                       reward->name, picture->width, picture->height, picture->prompt);
    if (reward->needs_truth && !truth)
        return at_fail(log, AT_ERROR_FAILED, "reward %s needs true pictures, and none were opened", reward->name);
    return reward->score(log, truth, picture, out);
}
