// SPDX-License-Identifier: Apache-2.0
#include "pipelines/rewards/reward.h"

#include <math.h>

#define BACKGROUND 0.85f // a pixel whose darkest channel reaches this is paper, not picture

static bool score(struct at_log *log, struct at_truth *truth, const struct at_picture *picture, double *out)
{
    (void)log;
    (void)truth;
    size_t n = (size_t)picture->width * (size_t)picture->height, count = 0;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const float *p = picture->rgb + 3 * i;
        float low = fminf(p[0], fminf(p[1], p[2])), high = fmaxf(p[0], fmaxf(p[1], p[2]));
        if (low >= BACKGROUND)
            continue;
        sum += (double)(high - low);
        count++;
    }
    *out = count ? sum / (double)count : 0;
    return true;
}

const struct at_reward at_reward_saturation = {
    .name = "saturation",
    .about = "how vivid: mean (max - min) of R, G, B over the pixels that are not background (min < .85), 0 .. 1",
    .score = score,
};
