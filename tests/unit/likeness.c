// SPDX-License-Identifier: Apache-2.0
// Telling the prediction type by a denoiser's output.
#include "core/diffusion/likeness.h"

#include "core/base/rng.h"
#include "core/diffusion/ddim.h"
#include "tests/harness.h"

#include <math.h>
#include <string.h>

#define N 4096

static float x0[N], noise[N], y[N];

static struct at_schedule *schedule_of(int prediction)
{
    struct at_schedule_config c = at_schedule_defaults();
    c.prediction = (enum at_prediction)prediction;
    return at_schedule_create(&c, NULL);
}

// A denoiser of type `kind` whose x0 is `sure` of the true one and else half of the noisy sample, as the best one would be
// that knows nothing of an x0 of this size.
static void answer(int kind, double alpha, double sure)
{
    for (int i = 0; i < N; i++) {
        double a = sqrt(alpha), b = sqrt(1 - alpha), x = a * (double)x0[i] + b * (double)noise[i];
        double guess = sure * (double)x0[i] + (1 - sure) * a * x, eps = (x - a * guess) / b;
        y[i] = (float)(kind == AT_PREDICTION_EPSILON ? eps : kind == AT_PREDICTION_V ? a * eps - b * guess : guess);
    }
}

static void each_type_is_told_from_the_others(void)
{
    static const double sure[] = {1, 0.7, 0.5};
    for (int kind = 0; kind < 3; kind++)
        for (int said = 0; said < 3; said++)
            for (int i = 0; i < 3; i++) {
                struct at_schedule *s = schedule_of(said);
                struct at_likeness like = {0};
                int t = s ? at_schedule_middle(s) : 0;
                AT_CHECK(s && fabs(at_schedule_alpha(s, t) - 0.5) < 0.01);
                answer(kind, at_schedule_alpha(s, t), sure[i]);
                at_likeness_measure(s, t, x0, noise, y, N, &like);
                printf("%s taken for %s, sure %.1f: %.0f degrees, length %.2f\n", at_prediction_names[kind],
                       at_prediction_names[said], sure[i], like.angle, like.length);
                AT_CHECK_INT(like.best, kind);
                AT_CHECK(like.doubtful == (kind != said));
                at_schedule_destroy(&s);
            }
}

// What an untrained denoiser says, and nothing at all, raises no doubt.
static void nothing_is_said_of_what_is_no_prediction(void)
{
    static float other[N];
    struct at_schedule *s = schedule_of(AT_PREDICTION_EPSILON);
    struct at_likeness like = {0};
    int t = s ? at_schedule_middle(s) : 0;
    at_rng_normal(other, N, 3, AT_STREAM_NOISE, 7);
    at_likeness_measure(s, t, x0, noise, other, N, &like);
    AT_CHECK(!like.doubtful && like.length < 0.1);
    memset(other, 0, sizeof(other));
    at_likeness_measure(s, t, x0, noise, other, N, &like);
    AT_CHECK(!like.doubtful && like.length == 0);
    at_likeness_measure(s, t, other, noise, noise, N, &like);
    AT_CHECK(!like.doubtful);
    at_diffuse(s, t, x0, noise, other, N); // the input handed on
    at_likeness_measure(s, t, x0, noise, other, N, &like);
    AT_CHECK(!like.doubtful && fabs(like.angle - 45) < 5);
    at_schedule_destroy(&s);
}

int main(void)
{
    at_rng_normal(x0, N, 1, AT_STREAM_NOISE, 0);
    at_rng_normal(noise, N, 2, AT_STREAM_NOISE, 0);
    AT_RUN(each_type_is_told_from_the_others);
    AT_RUN(nothing_is_said_of_what_is_no_prediction);
    return at_test_end();
}
