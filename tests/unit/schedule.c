// SPDX-License-Identifier: Apache-2.0
// Schedules, timesteps and DDIM against diffusers (tests/golden/make_schedule.py).
#include "core/diffusion/ddim.h"
#include "core/diffusion/schedule.h"
#include "core/base/alloc.h"
#include "tests/golden.h"

// diffusers rounds each step's coefficients to float32; over 999 steps that adds up to 1.2e-5, measured.
#define TOLERANCE 1e-5
#define TOLERANCE_LONG 2e-5

static void quiet(void *priv, enum at_level level, const char *text)
{
    (void)level;
    if (priv)
        snprintf(priv, 512, "%s", text);
}

static char message[512];
static struct at_log silent = {.write = quiet, .priv = message};

static struct at_schedule *parse(const char *text)
{
    return at_schedule_parse(text, strlen(text), "scheduler_config.json", &silent);
}

static bool near(double a, double b, int steps)
{
    return fabs(a - b) <= (steps > 100 ? TOLERANCE_LONG : TOLERANCE) * fmax(1, fabs(b));
}

static void noise_levels_match(void)
{
    cJSON *root = at_golden_load("schedule.json"), *row;
    int rows = 0;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(root, "alphas"))
    {
        char *text = cJSON_PrintUnformatted(cJSON_GetObjectItem(row, "config"));
        struct at_schedule *s = parse(text);
        const cJSON *index = cJSON_GetObjectItem(row, "index"), *want = cJSON_GetObjectItem(row, "alphas");
        for (int i = 0; AT_CHECK(s != NULL) && i < cJSON_GetArraySize(index); i++) {
            double a = at_schedule_alpha(s, (int)at_golden_at(index, i)), b = at_golden_at(want, i);
            // Zero SNR subtracts nearly equal float32 roots: one rounding of a beta grows to 7e-6 near the end.
            if (!AT_CHECK(fabs(a - b) <=
                          (strstr(text, "\"rescale_betas_zero_snr\":true") ? 1e-5 * b + 2e-9 : 1e-6 * b)))
                printf("  %s at %g: %.9g, expected %.9g\n", text, at_golden_at(index, i), a, b);
        }
        cJSON_free(text);
        at_schedule_destroy(&s);
        rows++;
    }
    AT_CHECK_INT(rows, 13);
    cJSON_Delete(root);
}

// Runs the fake model; x_first and x_last in out. Returns false where a step is refused.
static bool follow(const struct at_schedule *s, const int *t, int n, const struct at_ddim_params *base, bool inverse,
                   float out[2][3])
{
    float x[3] = {0.9f, -1.4f, 0.2f};
    for (int i = 0; i < n; i++) {
        float y[3], z[3];
        struct at_ddim_params p = *base;
        struct at_ddim d;
        p.t = t[i];
        if (!(inverse ? at_ddim_inverse_step(s, &p, &d, &silent) : at_ddim_step(s, &p, &d, &silent)))
            return false;
        for (int j = 0; j < 3; j++) {
            y[j] = (float)(0.3 * (double)x[j] + 0.1 * sin(t[i]));
            z[j] = (float)sin(1.3 * i + j);
        }
        float linear = (float)(d.mean_x * (double)x[0] + d.mean_y * (double)y[0] + d.sigma * (double)z[0]);
        at_ddim_apply(&d, x, y, z, NULL, 3);
        if (d.clip == 0)
            AT_CHECK(near(linear, x[0], 1));
        memcpy(out[1], x, sizeof(x));
        if (i == 0)
            memcpy(out[0], x, sizeof(x));
    }
    return true;
}

// `want`: count, first, last, weighted sum, x_first, x_last from element `at` of the row.
static void check_run(const struct at_schedule *s, const cJSON *row, int at, const struct at_ddim_params *p,
                      bool inverse)
{
    static int t[1000];
    float got[2][3];
    int n = inverse ? at_schedule_inverse_timesteps(s, p->steps, t, &silent)
                    : at_schedule_timesteps(s, p->steps, t, &silent);
    const cJSON *last = cJSON_GetArrayItem(row, at + 5);
    bool ok = n > 0 && follow(s, t, n, p, inverse, got);
    if (n > 0) {
        long long sum = 0;
        for (int i = 0; i < n; i++)
            sum += (long long)(i + 1) * t[i];
        AT_CHECK_INT(n, at_golden_at(row, at));
        AT_CHECK_INT(t[0], at_golden_at(row, at + 1));
        AT_CHECK_INT(t[n - 1], at_golden_at(row, at + 2));
        AT_CHECK_INT(sum % 1000003, at_golden_at(row, at + 3));
    }
    AT_CHECK(ok == cJSON_IsArray(last)); // what diffusers answers with NaN or an exception, we refuse
    for (int j = 0; ok && j < 6; j++) {
        double want = at_golden_at(cJSON_GetArrayItem(row, at + 4 + j / 3), j % 3), have = got[j / 3][j % 3];
        if (!AT_CHECK(near(have, want, n))) {
            char *text = cJSON_PrintUnformatted(row);
            printf("  %.9g, expected %.9g in %s\n", have, want, text);
            cJSON_free(text);
        }
    }
}

static struct at_schedule *sd_schedule(const cJSON *row, bool zero, double clip)
{
    static const enum at_prediction kinds[] = {AT_PREDICTION_EPSILON, AT_PREDICTION_V, AT_PREDICTION_SAMPLE};
    struct at_schedule_config c = at_schedule_defaults();
    c.beta_start = 0.00085;
    c.beta_end = 0.012;
    c.beta_schedule = AT_BETA_SCALED_LINEAR;
    c.spacing = (enum at_spacing)at_golden_at(row, 0);
    c.steps_offset = (int)at_golden_at(row, 1);
    c.set_alpha_to_one = at_golden_at(row, 2) != 0;
    c.prediction = kinds[(int)at_golden_at(row, 3)];
    c.zero_snr = zero;
    c.clip_sample = clip > 0;
    c.clip_range = clip;
    return at_schedule_create(&c, &silent);
}

static void sampling_matches(void)
{
    cJSON *root = at_golden_load("schedule.json"), *row;
    int rows = 0;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(root, "runs"))
    {
        struct at_schedule *s = sd_schedule(row, at_golden_at(row, 5) != 0, at_golden_at(row, 6));
        struct at_ddim_params p = {
            .steps = (int)at_golden_at(row, 8), .eta = at_golden_at(row, 4), .clipped_eps = at_golden_at(row, 7) != 0};
        if (AT_CHECK(s != NULL))
            check_run(s, row, 9, &p, false);
        at_schedule_destroy(&s);
        rows++;
    }
    AT_CHECK(rows > 700);
    cJSON_Delete(root);
}

static void inversion_matches(void)
{
    cJSON *root = at_golden_load("schedule.json"), *row;
    int rows = 0;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(root, "inverse"))
    {
        struct at_schedule *s = sd_schedule(row, false, 0);
        struct at_ddim_params p = {.steps = (int)at_golden_at(row, 4)};
        if (AT_CHECK(s != NULL))
            check_run(s, row, 5, &p, true);
        at_schedule_destroy(&s);
        rows++;
    }
    AT_CHECK(rows > 90);
    cJSON_Delete(root);
}

// With the exact noise as the model's output, inverting from t and sampling back to t are each other's inverse.
static void a_step_and_its_inverse_cancel(void)
{
    for (int kind = 0; kind < 2; kind++) {
        struct at_schedule_config c = at_schedule_defaults();
        c.prediction = (enum at_prediction)kind;
        c.clip_sample = false;
        struct at_schedule *s = at_schedule_create(&c, &silent);
        struct at_ddim down, up;
        struct at_ddim_params p = {.t = 500, .steps = 10};
        if (!AT_CHECK(s && at_ddim_step(s, &p, &down, &silent) && at_ddim_inverse_step(s, &p, &up, &silent)))
            return;
        float x0[3] = {0.5f, -2, 1}, eps[3] = {1, 0.25f, -0.75f}, x[3], y[3], at_500[3];
        at_diffuse(s, 500, x0, eps, at_500, 3);
        memcpy(x, at_500, sizeof(x));
        at_diffuse_target(s, 500, x0, eps, y, 3);
        at_ddim_apply(&down, x, y, NULL, NULL, 3);
        at_diffuse_target(s, 400, x0, eps, y, 3);
        at_ddim_apply(&up, x, y, NULL, NULL, 3);
        for (int j = 0; j < 3; j++)
            AT_CHECK_NEAR(x[j], at_500[j], 2e-6);
        at_schedule_destroy(&s);
    }
}

static void conversions_agree_with_the_forward_process(void)
{
    double alpha = 0.3, x0 = 1.7, eps = -0.4, a = sqrt(alpha), b = sqrt(1 - alpha), x = a * x0 + b * eps;
    double v = a * eps - b * x0, y[3] = {eps, v, x0};
    for (int kind = 0; kind < 3; kind++) {
        struct at_conversion c = at_conversion_at((enum at_prediction)kind, alpha);
        AT_CHECK(c.finite);
        AT_CHECK_NEAR(c.x0_x * x + c.x0_y * y[kind], x0, 1e-12);
        AT_CHECK_NEAR(c.eps_x * x + c.eps_y * y[kind], eps, 1e-12);
        AT_CHECK_NEAR(c.v_x * x + c.v_y * y[kind], v, 1e-12);
    }
    AT_CHECK(!at_conversion_at(AT_PREDICTION_EPSILON, 0).finite);
    AT_CHECK(at_conversion_at(AT_PREDICTION_V, 0).finite);
    AT_CHECK(!at_conversion_at(AT_PREDICTION_SAMPLE, 1).finite);
    static const char *const files[] = {"{}", "{\"prediction_type\":\"v_prediction\"}",
                                        "{\"prediction_type\":\"sample\"}"};
    for (int kind = 0; kind < 3; kind++) {
        struct at_schedule *s = parse(files[kind]);
        if (!AT_CHECK(s != NULL))
            return;
        // A wrong output y + 0.1 implies a noise wrong by eps_y 0.1.
        struct at_conversion c = at_conversion_at(s->config.prediction, at_schedule_alpha(s, 700));
        AT_CHECK_NEAR(at_schedule_eps_weight(s, 700), c.eps_y * c.eps_y, 1e-12);
        AT_CHECK_NEAR(at_schedule_snr(s, 700), at_schedule_alpha(s, 700) / (1 - at_schedule_alpha(s, 700)), 1e-12);
        at_schedule_destroy(&s);
    }
}

static void absent_fields_take_the_defaults(void)
{
    struct at_schedule *s = parse("{\"_class_name\":\"PNDMScheduler\",\"skip_prk_steps\":true}");
    if (!AT_CHECK(s != NULL))
        return;
    AT_CHECK_INT(s->config.train_steps, 1000);
    AT_CHECK(!s->config.clip_sample && !s->config.set_alpha_to_one && s->config.clip_range == 1);
    AT_CHECK(s->foreign && strcmp(s->foreign, "PNDMScheduler") == 0);
    AT_CHECK_INT(s->config.steps_offset, 0);
    AT_CHECK_NEAR(s->alphas[0], 0.9999, 1e-7);
    AT_CHECK(s->final_alpha == s->alphas[0]);
    at_schedule_destroy(&s);
    s = parse("{\"_class_name\":\"HeunDiscreteScheduler\"}");
    AT_CHECK(s && s->config.beta_start == 0.00085 && s->config.beta_end == 0.012 && !s->config.clip_sample);
    AT_CHECK(s && s->config.spacing == AT_SPACING_LINSPACE && s->config.beta_schedule == AT_BETA_LINEAR);
    at_schedule_destroy(&s);
    s = parse("{\"_class_name\":\"DDIMParallelScheduler\"}");
    AT_CHECK(s && !s->foreign && s->config.clip_sample && s->final_alpha == 1);
    at_schedule_destroy(&s);
    s = parse("{\"beta_start\":0.00085,\"beta_end\":0.012,\"beta_schedule\":\"scaled_linear\",\"clip_sample\":false,"
              "\"set_alpha_to_one\":false,\"steps_offset\":1,\"trained_betas\":null}");
    AT_CHECK(s && s->final_alpha == s->alphas[0] && !s->config.clip_sample && s->config.steps_offset == 1);
    at_schedule_destroy(&s);
}

static void bad_files_are_refused_by_field(void)
{
    static const char *const bad[][2] = {
        {"", "scheduler_config.json:1:1"},
        {"[1]", "not an object"},
        {"{\"thresholding\":true}", "thresholding"},
        {"{\"clip_sample\":\"False\"}", "\"clip_sample\": expected true or false"},
        {"{\"beta_schedule\":\"sigmoid\"}", "\"sigmoid\" is not known"},
        {"{\"prediction_type\":\"flow_prediction\"}", "prediction_type"},
        {"{\"timestep_spacing\":3}", "\"timestep_spacing\": expected a string"},
        {"{\"num_train_timesteps\":0}", "\"num_train_timesteps\": expected"},
        {"{\"num_train_timesteps\":1e300}", "\"num_train_timesteps\": expected an integer"},
        {"{\"num_train_timesteps\":2.5}", "\"num_train_timesteps\": expected an integer"},
        {"{\"beta_start\":-1}", "scheduler_config.json: beta_start -1"},
        {"{\"steps_offset\":1000}", "steps_offset is 1000"},
        {"{\"trained_betas\":[0.1]}", "\"trained_betas\": has 1"},
        {"{\"num_train_timesteps\":2,\"trained_betas\":[0.1,\"x\"]}", "\"trained_betas[1]\": expected a number"},
        {"{\"num_train_timesteps\":2,\"trained_betas\":[0.1,7]}", "trained_betas[1] is 7"},
        {"{\"_class_name\":\"FlowMatchEulerDiscreteScheduler\",\"shift\":3}", "flow matching"},
        {"{\"_class_name\":\"EDMDPMSolverMultistepScheduler\",\"sigma_max\":80}", "EDM"},
        {"{\"_class_name\":\"NoSuchScheduler\"}", "NoSuchScheduler is no schedule that is known here"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct at_schedule *s = parse(bad[i][0]);
        AT_CHECK(s == NULL);
        if (!AT_CHECK(strstr(message, bad[i][1]) != NULL))
            printf("  %s: %s\n", bad[i][0], message);
        at_schedule_destroy(&s);
    }
    int t[1000];
    struct at_schedule *s = parse("{\"steps_offset\":1}");
    AT_CHECK(s && at_schedule_timesteps(s, 0, t, &silent) == 0 && at_schedule_timesteps(s, 1001, t, &silent) == 0);
    AT_CHECK(s && at_schedule_timesteps(s, 1000, t, &silent) == 0 && strstr(message, "past the last one"));
    struct at_ddim d;
    AT_CHECK(s && !at_ddim_step(s, &(struct at_ddim_params){.t = 1000, .steps = 10}, &d, &silent));
    AT_CHECK(s && !at_ddim_step(s, &(struct at_ddim_params){.t = 0, .steps = 10, .eta = 1.5}, &d, &silent));
    at_schedule_destroy(&s);
}

static void trailing_never_goes_below_zero(void)
{
    int t[1000];
    struct at_schedule *s = parse("{\"timestep_spacing\":\"trailing\"}");
    for (int n = 1; s && n <= 1000; n++) {
        AT_CHECK_INT(at_schedule_timesteps(s, n, t, &silent), n);
        AT_CHECK(t[0] == 999 && t[n - 1] >= 0);
        for (int i = 1; i < n; i++)
            AT_CHECK(t[i] < t[i - 1]);
    }
    at_schedule_destroy(&s);
}

static void no_memory_is_a_clean_failure(void)
{
    for (size_t n = 1;; n++) {
        at_alloc_fail_at(n, false);
        struct at_schedule *s = parse("{\"num_train_timesteps\":2,\"trained_betas\":[0.1,0.2]}");
        bool failed = at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(failed == (s == NULL));
        at_schedule_destroy(&s);
        if (!failed)
            break;
    }
}

int main(void)
{
    AT_RUN(noise_levels_match);
    AT_RUN(sampling_matches);
    AT_RUN(inversion_matches);
    AT_RUN(a_step_and_its_inverse_cancel);
    AT_RUN(conversions_agree_with_the_forward_process);
    AT_RUN(absent_fields_take_the_defaults);
    AT_RUN(bad_files_are_refused_by_field);
    AT_RUN(trailing_never_goes_below_zero);
    AT_RUN(no_memory_is_a_clean_failure);
    return at_test_end();
}
