// SPDX-License-Identifier: Apache-2.0
#include "core/diffusion/likeness.h"

#include <math.h>

// In degrees. Of the embedded model (v), 20 emoji with and without their names, lengths 0.55 to 0.89: angles -29 to -68, at
// most 21 from the target's own, which are -30 to -47: pale latents bring v near eps.
#define NEAR 25   // to a target, to be like it
#define APART 27  // from the schedule's target, to be unlike it
#define LEAST 0.4 // length: an untrained denoiser may point anywhere, but not far

int at_schedule_middle(const struct at_schedule *s)
{
    int best = 0;
    for (int t = 1; t < s->config.train_steps; t++)
        if (fabs((double)s->alphas[t] - 0.5) < fabs((double)s->alphas[best] - 0.5))
            best = t;
    return best;
}

static double degrees(double noise, double x0)
{
    return atan2(x0, noise) * 180 / M_PI;
}

void at_likeness_measure(const struct at_schedule *s, int t, const float *x0, const float *noise, const float *y,
                         size_t count, struct at_likeness *out)
{
    double a = sqrt(at_schedule_alpha(s, t)), b = sqrt(1 - at_schedule_alpha(s, t));
    double yy = 0, nn = 0, xx = 0, yn = 0, yx = 0;
    for (size_t i = 0; i < count; i++) {
        double n = noise[i], x = x0[i], out_i = y[i];
        yy += out_i * out_i;
        nn += n * n;
        xx += x * x;
        yn += out_i * n;
        yx += out_i * x;
    }
    *out = (struct at_likeness){.best = s->config.prediction};
    if (!(yy * nn * xx > 0))
        return;
    yn /= sqrt(yy * nn);
    yx /= sqrt(yy * xx);
    out->angle = degrees(yn, yx);
    out->length = fmin(1, hypot(yn, yx));
    out->target[AT_PREDICTION_V] = degrees(a * sqrt(nn), -b * sqrt(xx));
    out->target[AT_PREDICTION_SAMPLE] = 90;
    for (int k = 0; k < 3; k++)
        if (fabs(out->angle - out->target[k]) < fabs(out->angle - out->target[out->best]))
            out->best = (enum at_prediction)k;
    double best = out->target[out->best];
    out->doubtful = out->length > LEAST && fabs(out->angle - best) < NEAR &&
                    fabs(out->angle - out->target[s->config.prediction]) > APART;
}
