// SPDX-License-Identifier: Apache-2.0
// Inversion by fixed-point iteration, by what defines it: the sampling step leads back.
#include "core/diffusion/fixed_point.h"

#include "core/base/alloc.h"
#include "tests/golden.h"

#define COUNT 6
#define STEPS 10

static struct at_log quiet = {.write = at_log_drop};

// A network that couples its inputs; `slope` is how fast it changes with x. Under sample prediction it finds the same noise:
// it cannot but copy what has hardly any.
static void network(const struct at_schedule *s, const float *x, int t, double slope, float *y)
{
    double a = at_schedule_alpha(s, t);
    for (int i = 0; i < COUNT; i++) {
        double noise = sin(slope * (double)x[i] + 0.01 * t) + 0.3 * slope * (double)x[(i + 1) % COUNT];
        bool sample = s->config.prediction == AT_PREDICTION_SAMPLE;
        y[i] = (float)(sample ? ((double)x[i] - sqrt(1 - a) * noise) / sqrt(a) : noise);
    }
}

struct outcome {
    double worst_first, worst_least, error; // residuals of steps; relative error of the round trip
};

static struct outcome round_trip(const struct at_schedule *s, double slope, int rounds, double tolerance)
{
    int t[STEPS];
    const float start[COUNT] = {0.9f, -1.4f, 0.2f, 0.5f, -0.3f, 1.1f};
    float x[COUNT], y[COUNT], before[COUNT];
    struct outcome out = {0};
    struct at_fixed_point f;
    memcpy(x, start, sizeof(x));
    AT_CHECK(at_fixed_point_init(&f, COUNT, tolerance, &quiet));
    AT_CHECK_INT(at_schedule_inverse_timesteps(s, STEPS, t, &quiet), STEPS);
    for (int i = 0; i < STEPS; i++) {
        struct at_ddim up, down;
        struct at_ddim_params p = {.t = t[i], .steps = STEPS};
        if (!AT_CHECK(at_ddim_inverse_step(s, &p, &up, &quiet) && at_ddim_step(s, &p, &down, &quiet)))
            break;
        memcpy(before, x, sizeof(x));
        network(s, x, t[i], slope, y);
        at_ddim_apply(&up, x, y, NULL, NULL, COUNT);
        at_fixed_point_begin(&f, before);
        for (int k = 0; k < rounds; k++) {
            network(s, x, t[i], slope, y);
            if (!at_fixed_point_update(&f, &down, x, y))
                break;
        }
        out.worst_first = fmax(out.worst_first, f.first);
        out.worst_least = fmax(out.worst_least, f.least);
    }
    at_fixed_point_finish(&f);
    for (int i = STEPS - 1; i >= 0; i--) {
        struct at_ddim down;
        AT_CHECK(at_ddim_step(s, &(struct at_ddim_params){.t = t[i], .steps = STEPS}, &down, &quiet));
        network(s, x, t[i], slope, y);
        at_ddim_apply(&down, x, y, NULL, NULL, COUNT);
    }
    double miss = 0, size = 0;
    for (int i = 0; i < COUNT; i++) {
        miss += ((double)x[i] - (double)start[i]) * ((double)x[i] - (double)start[i]);
        size += (double)start[i] * (double)start[i];
    }
    out.error = sqrt(miss / size);
    return out;
}

static void every_round_brings_it_closer(void)
{
    static const char *const types[] = {"epsilon", "v_prediction", "sample"}, *const spacings[] = {"leading", "trailing",
                                                                                                   "linspace"};
    for (int type = 0; type < 3; type++)
        for (int spacing = 0; spacing < 3; spacing++) {
            char text[512];
            snprintf(text, sizeof(text), "{\"beta_schedule\":\"scaled_linear\",\"beta_start\":0.00085,\"beta_end\":0.012,"
                     "\"clip_sample\":false,\"set_alpha_to_one\":false,\"steps_offset\":1,\"prediction_type\":\"%s\","
                     "\"timestep_spacing\":\"%s\"}", types[type], spacings[spacing]);
            struct at_schedule *s = at_schedule_parse(text, strlen(text), "scheduler_config.json", &quiet);
            if (!AT_CHECK(s))
                continue;
            double errors[3];
            static const int rounds[] = {0, 3, 40};
            for (int i = 0; i < 3; i++) {
                struct outcome o = round_trip(s, 0.4, rounds[i], 1e-6);
                errors[i] = o.error;
                AT_CHECK(i == 0 || o.worst_least < o.worst_first);
            }
            printf("  %s, %s: error %.1e plain, %.1e after 3 rounds, %.1e after 40\n", types[type], spacings[spacing],
                   errors[0], errors[1], errors[2]);
            AT_CHECK(errors[1] < errors[0] && errors[2] < errors[1] && errors[2] < 1e-4);
            at_schedule_destroy(&s);
        }
}

// Where the plain iteration runs away, the damped one still comes no further off than it was.
static void a_steep_network_does_not_run_away(void)
{
    const char *text = "{\"clip_sample\":false,\"prediction_type\":\"v_prediction\",\"timestep_spacing\":\"trailing\"}";
    struct at_schedule *s = at_schedule_parse(text, strlen(text), "scheduler_config.json", &quiet);
    struct outcome o = round_trip(s, 6, 12, 1e-6);
    AT_CHECK(o.worst_least <= o.worst_first && isfinite(o.error));
    at_schedule_destroy(&s);
}

static void what_is_right_stays(void)
{
    const char *text = "{\"clip_sample\":false,\"prediction_type\":\"epsilon\",\"set_alpha_to_one\":false}";
    struct at_schedule *s = at_schedule_parse(text, strlen(text), "scheduler_config.json", &quiet);
    struct at_ddim down;
    struct at_fixed_point f;
    float x[COUNT] = {0.9f, -1.4f, 0.2f, 0.5f, -0.3f, 1.1f}, y[COUNT] = {0}, target[COUNT], same[COUNT];
    bool ok = at_ddim_step(s, &(struct at_ddim_params){.t = 500, .steps = STEPS}, &down, &quiet) &&
              at_fixed_point_init(&f, COUNT, 1e-5, &quiet);
    if (!AT_CHECK(ok))
        return;
    memcpy(target, x, sizeof(x));
    memcpy(same, x, sizeof(x));
    at_ddim_apply(&down, target, y, NULL, NULL, COUNT);
    at_fixed_point_begin(&f, target);
    AT_CHECK(!at_fixed_point_update(&f, &down, x, y));
    AT_CHECK(memcmp(x, same, sizeof(x)) == 0 && f.least < 1e-6);
    x[0] = NAN; // nothing to go by
    at_fixed_point_begin(&f, target);
    AT_CHECK(!at_fixed_point_update(&f, &down, x, y) && isnan(x[0]));
    at_fixed_point_finish(&f);
    at_schedule_destroy(&s);
}

int main(void)
{
    AT_RUN(every_round_brings_it_closer);
    AT_RUN(a_steep_network_does_not_run_away);
    AT_RUN(what_is_right_stays);
    return at_test_end();
}
