// SPDX-License-Identifier: Apache-2.0
// Reading scheduler_config.json into a schedule.
#include "core/diffusion/schedule.h"

#include "core/base/alloc.h"
#include "core/io/json.h"

#include <string.h>

enum { MAX_STEPS = 1 << 20 };

static bool read_betas(struct at_json root, struct at_schedule_config *c, float **betas, struct at_log *log)
{
    struct at_json list;
    if (!at_json_array(root, "trained_betas", &list))
        return false;
    if (!at_json_present(list))
        return true;
    size_t n = at_json_count(list), i = 0;
    if (n != (size_t)c->train_steps)
        return at_json_fail(list, "has %zu numbers, but num_train_timesteps is %d", n, c->train_steps);
    *betas = at_calloc(n, sizeof(float));
    if (!*betas)
        return at_fail_memory(log, n * sizeof(float));
    for (struct at_json v = at_json_first(list); i < n; v = at_json_next(v)) {
        double beta;
        if (!at_json_as_num(v, &beta))
            return false;
        (*betas)[i++] = (float)beta;
    }
    c->trained_betas = *betas;
    return true;
}

// What would change the result without a word if it were ignored.
static bool is_supported(struct at_json root)
{
    struct at_json class_name = at_json_get(root, "_class_name");
    const char *name = "";
    bool thresholding;
    if (at_json_is_string(class_name) && !at_json_as_str(class_name, &name))
        return false;
    if (strncmp(name, "FlowMatch", 9) == 0)
        return at_json_fail(class_name, "%.60s is a flow matching schedule, not a discrete noise schedule", name);
    if (!at_json_bool(root, "thresholding", false, &thresholding))
        return false;
    return !thresholding || at_json_fail(at_json_get(root, "thresholding"),
                                         "dynamic thresholding is not supported (it suits pixel-space models only); "
                                         "set it to false");
}

static enum at_sampler_kind sampler_of(struct at_json root)
{
    static const struct {
        const char *name;
        enum at_sampler_kind kind;
    } classes[] = {{"DDPMScheduler", AT_SAMPLER_DDPM},
                   {"EulerDiscreteScheduler", AT_SAMPLER_EULER},
                   {"EulerAncestralDiscreteScheduler", AT_SAMPLER_EULER_ANCESTRAL},
                   {"DPMSolverMultistepScheduler", AT_SAMPLER_DPMPP_2M},
                   {"LCMScheduler", AT_SAMPLER_LCM}};
    struct at_json class_name = at_json_get(root, "_class_name");
    const char *name = "";
    if (at_json_is_string(class_name) && at_json_as_str(class_name, &name))
        for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
            if (strcmp(classes[i].name, name) == 0)
                return classes[i].kind;
    return AT_SAMPLER_DDIM;
}

// A field that must have one value, if it is there.
static bool only(struct at_json root, const char *field, const char *value)
{
    const char *text;
    return at_json_str(root, field, value, &text) &&
           (strcmp(text, value) == 0 ||
            at_json_fail(at_json_get(root, field), "\"%.60s\" is not supported, only \"%s\"", text, value));
}

// What belongs to the file's sampler alone.
static bool read_sampler(struct at_json root, struct at_schedule_config *c)
{
    static const char *const finals[] = {"zero", "sigma_min", NULL}, *const variances[] = {"fixed_small", "fixed_large",
                                                                                            NULL};
    int final = 0, variance = 0, order;
    bool dpmpp = c->sampler == AT_SAMPLER_DPMPP_2M, euler = c->sampler == AT_SAMPLER_EULER;
    if ((dpmpp || euler) && (!at_json_bool(root, "use_karras_sigmas", false, &c->karras) ||
                             !at_json_enum(root, "final_sigmas_type", finals, final, &final)))
        return false;
    if (euler && (!only(root, "interpolation_type", "linear") || !only(root, "timestep_type", "discrete")))
        return false;
    if (dpmpp && (!only(root, "algorithm_type", "dpmsolver++") || !only(root, "solver_type", "midpoint") ||
                  !at_json_int(root, "solver_order", 2, 2, 2, &order)))
        return false;
    if (c->sampler == AT_SAMPLER_DDPM && !at_json_enum(root, "variance_type", variances, variance, &variance))
        return false;
    if (c->sampler == AT_SAMPLER_LCM &&
        (!at_json_int(root, "original_inference_steps", c->original_steps, 1, c->train_steps, &c->original_steps) ||
         !at_json_num(root, "timestep_scaling", c->timestep_scaling, &c->timestep_scaling)))
        return false;
    c->final_sigma_min = final == 1;
    c->large_variance = variance == 1;
    return true;
}

const char *const at_prediction_names[] = {"epsilon", "v_prediction", "sample", NULL};

static bool read_config(struct at_json root, struct at_schedule_config *c, float **betas, struct at_log *log)
{
    static const char *const schedules[] = {"linear", "scaled_linear", "squaredcos_cap_v2", NULL};
    static const char *const spacings[] = {"leading", "trailing", "linspace", NULL};
    int schedule = c->beta_schedule, prediction, spacing;
    if (!at_json_is_object(root))
        return at_json_fail(root, "not an object; expected a scheduler_config.json");
    if (!is_supported(root) ||
        !at_json_int(root, "num_train_timesteps", c->train_steps, 1, MAX_STEPS, &c->train_steps) ||
        !read_betas(root, c, betas, log) || !at_json_num(root, "beta_start", c->beta_start, &c->beta_start) ||
        !at_json_num(root, "beta_end", c->beta_end, &c->beta_end) ||
        (!*betas && !at_json_enum(root, "beta_schedule", schedules, schedule, &schedule)) ||
        !at_json_enum(root, "prediction_type", at_prediction_names, c->prediction, &prediction) ||
        !at_json_enum(root, "timestep_spacing", spacings, c->spacing, &spacing) ||
        !at_json_int(root, "steps_offset", c->steps_offset, 0, MAX_STEPS, &c->steps_offset) ||
        !at_json_bool(root, "set_alpha_to_one", c->set_alpha_to_one, &c->set_alpha_to_one) ||
        !at_json_bool(root, "clip_sample", c->clip_sample, &c->clip_sample) ||
        !at_json_num(root, "clip_sample_range", c->clip_range, &c->clip_range) ||
        !at_json_bool(root, "rescale_betas_zero_snr", c->zero_snr, &c->zero_snr) || !read_sampler(root, c))
        return false;
    c->beta_schedule = (enum at_beta_schedule)schedule;
    c->prediction = (enum at_prediction)prediction;
    c->spacing = (enum at_spacing)spacing;
    return true;
}

// Frees the document.
static struct at_schedule *from_document(struct at_json_doc *doc, const char *name, struct at_log *log)
{
    struct at_schedule_config config =
        at_schedule_defaults_of(doc ? sampler_of(at_json_root(doc)) : AT_SAMPLER_DDIM);
    config.name = name;
    struct at_schedule *schedule = NULL;
    float *betas = NULL;
    if (doc && read_config(at_json_root(doc), &config, &betas, log))
        schedule = at_schedule_create(&config, log);
    at_free(betas);
    at_json_destroy(&doc);
    return schedule;
}

struct at_schedule *at_schedule_parse(const char *text, size_t bytes, const char *name, struct at_log *log)
{
    return from_document(at_json_parse(log, name, text, bytes, NULL), name, log);
}

struct at_schedule *at_schedule_load(const char *path, struct at_log *log)
{
    return from_document(at_json_load(log, path), path, log);
}
