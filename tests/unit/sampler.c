// SPDX-License-Identifier: Apache-2.0
// Samplers against diffusers (tests/golden/make_samplers.py): every step of whole runs.
#include "core/diffusion/sampler.h"

#include "core/base/alloc.h"
#include "tests/golden.h"

// diffusers works in float: near the end of a run Euler divides by small sigmas. Measured: 3e-6 at most but for zero
// terminal SNR, where a level of 2^-24 makes its first sample 4096 large.
#define TOLERANCE 1e-5

static char message[512];

static void keep(void *priv, enum at_level level, const char *text)
{
    (void)priv;
    (void)level;
    snprintf(message, sizeof(message), "%s", text);
}

static struct at_log the_log = {.write = keep};

// The schedule of a golden run: its config with its class in it.
static struct at_schedule *schedule_of(const cJSON *run)
{
    cJSON *config = cJSON_Duplicate(cJSON_GetObjectItem(run, "config"), true);
    cJSON_AddStringToObject(config, "_class_name", cJSON_GetObjectItem(run, "class")->valuestring);
    char *text = cJSON_PrintUnformatted(config);
    struct at_schedule *s = at_schedule_parse(text, strlen(text), "scheduler_config.json", &the_log);
    cJSON_free(text);
    cJSON_Delete(config);
    return s;
}

static double worst;

static bool follow(const struct at_sampler *sampler, const cJSON *run)
{
    float x[3] = {0.9f, -1.4f, 0.2f}, x0[3] = {NAN, NAN, NAN};
    bool ok = AT_CHECK(sampler->count == cJSON_GetArraySize(cJSON_GetObjectItem(run, "t")));
    double scale = cJSON_GetObjectItem(run, "scale")->valuedouble;
    ok = AT_CHECK(fabs(sampler->init_scale / scale - 1) < 1e-6) && ok;
    for (int j = 0; j < 3; j++)
        x[j] = (float)((double)x[j] * sampler->init_scale);
    for (int i = 0; ok && i < sampler->count; i++) {
        const struct at_sampler_step *step = &sampler->step[i];
        const cJSON *want = cJSON_GetArrayItem(cJSON_GetObjectItem(run, "x"), i);
        float y[3], z[3];
        double t = at_golden_at(cJSON_GetObjectItem(run, "t"), i);
        ok = AT_CHECK(fabs(step->timestep - t) <= 1e-4 * fmax(1, t * 1e-2));
        for (int j = 0; j < 3; j++) {
            y[j] = (float)(0.3 * step->in_scale * (double)x[j] + 0.1 * sin(t));
            z[j] = (float)sin(1.3 * i + j);
        }
        at_sampler_apply(step, x, y, x0, z, 3);
        for (int j = 0; ok && j < 3; j++) {
            double error = fabs((double)x[j] - at_golden_at(want, j)) / fmax(1, fabs(at_golden_at(want, j)));
            worst = error > worst ? error : worst;
            ok = AT_CHECK(error <= TOLERANCE);
        }
    }
    return ok;
}

static void runs_match_diffusers(void)
{
    cJSON *root = at_golden_load("samplers.json"), *run;
    int count = 0;
    cJSON_ArrayForEach(run, cJSON_GetObjectItem(root, "runs"))
    {
        struct at_schedule *s = schedule_of(run);
        struct at_sampler_params p = {.steps = cJSON_GetObjectItem(run, "steps")->valueint};
        struct at_sampler *sampler = s ? at_sampler_create(s, &p, &the_log) : NULL;
        if (!AT_CHECK(sampler) || !follow(sampler, run)) {
            char *text = cJSON_PrintUnformatted(cJSON_GetObjectItem(run, "config"));
            printf("  %s, %d steps, %s: %s\n", cJSON_GetObjectItem(run, "class")->valuestring, p.steps, text,
                   sampler ? "" : message);
            cJSON_free(text);
        }
        at_sampler_destroy(&sampler);
        at_schedule_destroy(&s);
        count++;
    }
    printf("  %d runs, largest error %.1e\n", count, worst);
    AT_CHECK(count > 150);
    cJSON_Delete(root);
}

static struct at_schedule *parse(const char *text)
{
    return at_schedule_parse(text, strlen(text), "scheduler_config.json", &the_log);
}

// A sampler chosen by hand uses the file's schedule, as from_config does.
static void any_sampler_takes_any_file(void)
{
    struct at_schedule *s = parse("{\"_class_name\":\"PNDMScheduler\",\"beta_schedule\":\"scaled_linear\","
                                  "\"beta_start\":0.00085,\"beta_end\":0.012,\"steps_offset\":1,\"clip_sample\":false,"
                                  "\"set_alpha_to_one\":false,\"skip_prk_steps\":true}");
    AT_CHECK(s && s->config.sampler == AT_SAMPLER_DDIM);
    for (int kind = AT_SAMPLER_CONFIG; s && at_sampler_names[kind]; kind++) {
        struct at_sampler *sampler =
            at_sampler_create(s, &(struct at_sampler_params){.steps = 10, .kind = (enum at_sampler_kind)kind}, &the_log);
        AT_CHECK(sampler && sampler->kind == (kind ? (enum at_sampler_kind)kind : AT_SAMPLER_DDIM));
        // The exact noise prediction of an image that is known leads to it, whatever the noise on the way.
        float x[2] = {0.3f, -0.7f}, x0[2] = {0}, y[2], z[2] = {1, -1};
        const double image[2] = {0.8, -0.25};
        for (int j = 0; sampler && j < 2; j++)
            x[j] = (float)((double)x[j] * sampler->init_scale);
        for (int i = 0; sampler && i < sampler->count; i++) {
            const struct at_sampler_step *step = &sampler->step[i];
            for (int j = 0; j < 2; j++)
                y[j] = (float)((image[j] - step->x0_x * (double)x[j]) / step->x0_y);
            at_sampler_apply(step, x, y, x0, z, 2);
        }
        // DDIM ends at the level of timestep 0 here: set_alpha_to_one is false. LCM keeps c_skip of the noisy sample.
        for (int j = 0; sampler && j < 2; j++)
            AT_CHECK_NEAR(x[j], image[j], sampler->kind == AT_SAMPLER_DDIM ? 0.05 : 1e-3);
        at_sampler_destroy(&sampler);
    }
    at_schedule_destroy(&s);
}

static void refused(const char *config, struct at_sampler_params p, const char *reason)
{
    message[0] = 0;
    struct at_schedule *s = parse(config);
    struct at_sampler *sampler = s ? at_sampler_create(s, &p, &the_log) : NULL;
    AT_CHECK(!sampler);
    if (!AT_CHECK(strstr(message, reason)))
        printf("  %s: %s\n", config, message);
    at_sampler_destroy(&sampler);
    at_schedule_destroy(&s);
}

static void what_cannot_be_is_refused(void)
{
    struct at_sampler_params ten = {.steps = 10};
    refused("{\"_class_name\":\"DPMSolverMultistepScheduler\",\"algorithm_type\":\"sde-dpmsolver++\"}", ten,
            "\"algorithm_type\": \"sde-dpmsolver++\" is not supported");
    refused("{\"_class_name\":\"LCMScheduler\",\"original_inference_steps\":0}", ten, "original_inference_steps");
    refused("{\"_class_name\":\"LCMScheduler\"}", (struct at_sampler_params){.steps = 51}, "distilled for 50");
    refused("{}", (struct at_sampler_params){.steps = 0}, "choose 1 to 1000");
    refused("{}", (struct at_sampler_params){.steps = 1001}, "choose 1 to 1000");
    refused("{}", (struct at_sampler_params){.steps = 10, .kind = AT_SAMPLER_EULER, .eta = 0.5}, "eta 0.5");
    refused("{}", (struct at_sampler_params){.steps = 10, .karras = true}, "Karras");
    refused("{\"prediction_type\":\"sample\"}",
            (struct at_sampler_params){.steps = 10, .kind = AT_SAMPLER_EULER_ANCESTRAL}, "predict the sample");
    refused("{\"rescale_betas_zero_snr\":true,\"timestep_spacing\":\"trailing\"}",
            (struct at_sampler_params){.steps = 10, .kind = AT_SAMPLER_DDPM}, "zero signal");
    refused("{\"steps_offset\":600}", (struct at_sampler_params){.steps = 1, .kind = AT_SAMPLER_DPMPP_2M},
            "past the last one");
}

// What a file asks of its own sampler keeps no other from running.
static void a_sampler_that_is_not_here_leaves_the_schedule(void)
{
#define DPMPP "{\"_class_name\":\"DPMSolverMultistepScheduler\","
#define EULER "{\"_class_name\":\"EulerDiscreteScheduler\","
    static const char *const files[][2] = {
        {DPMPP "\"solver_order\":3}", "\"solver_order\": 3 is not"},
        {DPMPP "\"algorithm_type\":\"dpmsolver\"}", "\"algorithm_type\": \"dpmsolver\" is not"},
        {DPMPP "\"solver_type\":\"heun\"}", "solver_type"},
        {DPMPP "\"use_lu_lambdas\":true}", "\"use_lu_lambdas\": true is not"},
        {DPMPP "\"use_exponential_sigmas\":true}", "use_exponential_sigmas"},
        {DPMPP "\"use_flow_sigmas\":true}", "use_flow_sigmas"},
        {DPMPP "\"variance_type\":\"learned_range\"}", "variance_type"},
        {DPMPP "\"lambda_min_clipped\":-5.1}", "\"lambda_min_clipped\": -5.1 is not"},
        {EULER "\"timestep_type\":\"continuous\"}", "timestep_type"},
        {EULER "\"interpolation_type\":\"log_linear\"}", "interpolation_type"},
        {EULER "\"use_beta_sigmas\":true}", "use_beta_sigmas"},
        {EULER "\"sigma_max\":10}", "\"sigma_max\": is not supported, only null"},
        {"{\"_class_name\":\"DDPMScheduler\",\"variance_type\":\"learned_range\"}", "variance_type"},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        refused(files[i][0], (struct at_sampler_params){.steps = 10}, files[i][1]);
        AT_CHECK(strstr(message, "--sampler") && strstr(message, "scheduler_config.json: field"));
        struct at_schedule *s = parse(files[i][0]);
        struct at_sampler_params other = {.steps = 10, .kind = AT_SAMPLER_DDIM};
        struct at_sampler *sampler = s ? at_sampler_create(s, &other, &the_log) : NULL;
        AT_CHECK(sampler);
        at_sampler_destroy(&sampler);
        at_schedule_destroy(&s);
    }
}

// The last step of DPM-Solver++ looks back, or not, as the file says.
static void the_last_step_is_as_the_file_says(void)
{
    static const struct {
        const char *file;
        int steps;
        bool looks_back;
    } cases[] = {
        {DPMPP "\"final_sigmas_type\":\"sigma_min\"}", 10, false},
        {DPMPP "\"final_sigmas_type\":\"sigma_min\"}", 20, true},
        {DPMPP "\"final_sigmas_type\":\"sigma_min\",\"lower_order_final\":false}", 10, true},
        {DPMPP "\"final_sigmas_type\":\"sigma_min\",\"euler_at_final\":true}", 20, false},
        {DPMPP "\"lower_order_final\":false}", 20, false},
        {DPMPP "\"lambda_min_clipped\":-Infinity}", 20, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct at_schedule *s = parse(cases[i].file);
        struct at_sampler *sampler =
            s ? at_sampler_create(s, &(struct at_sampler_params){.steps = cases[i].steps}, &the_log) : NULL;
        AT_CHECK(sampler && (sampler->step[cases[i].steps - 1].next_before != 0) == cases[i].looks_back);
        at_sampler_destroy(&sampler);
        at_schedule_destroy(&s);
    }
}

static void memory_runs_out(void)
{
    struct at_schedule *s = parse("{}");
    for (int kind = AT_SAMPLER_DDIM; s && at_sampler_names[kind]; kind++) {
        for (size_t n = 1;; n++) {
            at_alloc_fail_at(n, false);
            struct at_sampler *sampler =
                at_sampler_create(s, &(struct at_sampler_params){.steps = 4, .kind = (enum at_sampler_kind)kind}, &the_log);
            bool failed = at_alloc_failed();
            at_alloc_fail_at(0, false);
            AT_CHECK(!sampler == failed);
            at_sampler_destroy(&sampler);
            if (!failed)
                break;
        }
    }
    at_schedule_destroy(&s);
}

int main(void)
{
    AT_RUN(runs_match_diffusers);
    AT_RUN(any_sampler_takes_any_file);
    AT_RUN(what_cannot_be_is_refused);
    AT_RUN(a_sampler_that_is_not_here_leaves_the_schedule);
    AT_RUN(the_last_step_is_as_the_file_says);
    AT_RUN(memory_runs_out);
    return at_test_end();
}
