// SPDX-License-Identifier: Apache-2.0
// Reading scheduler_config.json into a schedule.
#include "core/diffusion/schedule.h"

#include "core/base/alloc.h"
#include "core/io/json.h"

#include <stdarg.h>
#include <stdio.h>
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

// The classes of diffusers that can be read: discrete schedules of betas. Their fields are absent from older files, so the
// defaults count. `foreign`: there is no such sampler here, and DDIM stands in for it.
struct class {
    const char *name;
    enum at_sampler_kind kind;
    bool foreign, linspace, stable; // stable: betas from 0.00085 to 0.012
};

static const struct class *class_of(struct at_json root)
{
    static const struct class classes[] = {
        {"DDIMScheduler", AT_SAMPLER_DDIM, false, false, false},
        {"DDIMParallelScheduler", AT_SAMPLER_DDIM, false, false, false},
        {"DDIMInverseScheduler", AT_SAMPLER_DDIM, false, false, false},
        {"DDPMScheduler", AT_SAMPLER_DDPM, false, false, false},
        {"DDPMParallelScheduler", AT_SAMPLER_DDPM, false, false, false},
        {"EulerDiscreteScheduler", AT_SAMPLER_EULER, false, true, false},
        {"EulerAncestralDiscreteScheduler", AT_SAMPLER_EULER_ANCESTRAL, false, true, false},
        {"DPMSolverMultistepScheduler", AT_SAMPLER_DPMPP_2M, false, true, false},
        {"LCMScheduler", AT_SAMPLER_LCM, false, false, true},
        {"PNDMScheduler", AT_SAMPLER_DDIM, true, false, false},
        {"LMSDiscreteScheduler", AT_SAMPLER_DDIM, true, true, false},
        {"HeunDiscreteScheduler", AT_SAMPLER_DDIM, true, true, true},
        {"KDPM2DiscreteScheduler", AT_SAMPLER_DDIM, true, true, true},
        {"KDPM2AncestralDiscreteScheduler", AT_SAMPLER_DDIM, true, true, true},
        {"DPMSolverMultistepInverseScheduler", AT_SAMPLER_DDIM, true, true, false},
        {"DPMSolverSinglestepScheduler", AT_SAMPLER_DDIM, true, false, false},
        {"DPMSolverSDEScheduler", AT_SAMPLER_DDIM, true, true, true},
        {"DEISMultistepScheduler", AT_SAMPLER_DDIM, true, true, false},
        {"UniPCMultistepScheduler", AT_SAMPLER_DDIM, true, true, false},
        {"SASolverScheduler", AT_SAMPLER_DDIM, true, true, false},
        {"TCDScheduler", AT_SAMPLER_DDIM, true, false, true},
    };
    const char *name;
    if (!at_json_str(root, "_class_name", classes[0].name, &name))
        return NULL;
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (strcmp(classes[i].name, name) == 0)
            return &classes[i];
    at_json_fail(at_json_get(root, "_class_name"), "%.60s is %s; only discrete schedules of betas are read, such as "
                 "DDIMScheduler and EulerDiscreteScheduler", name,
                 strncmp(name, "FlowMatch", 9) == 0 ? "a flow matching schedule"
                 : strncmp(name, "EDM", 3) == 0     ? "a continuous schedule of noise levels (EDM)"
                                                    : "no schedule that is known here");
    return NULL;
}

static struct at_schedule_config defaults_of(const struct class *class)
{
    struct at_schedule_config c = at_schedule_defaults_of(class->kind);
    c.spacing = class->linspace ? AT_SPACING_LINSPACE : AT_SPACING_LEADING;
    if (class->stable) {
        c.beta_start = 0.00085;
        c.beta_end = 0.012;
    }
    if (class->foreign)
        c.clip_sample = false; // which is DDIM's own, and not for latents
    if (strcmp(class->name, "PNDMScheduler") == 0)
        c.set_alpha_to_one = false;
    if (strcmp(class->name, "TCDScheduler") == 0)
        c.beta_schedule = AT_BETA_SCALED_LINEAR;
    return c;
}

struct reading {
    struct at_json root;
    const char *name;
    struct at_schedule_config c;
    float *betas;
    char *unfit; // as at_schedule's
    struct at_log *log;
};

// Why the file's own sampler cannot be run as it says; the first reason stays. The schedule itself is fine.
AT_PRINTF(3, 4) static bool unfit(struct reading *r, const char *field, const char *fmt, ...)
{
    char text[160];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (!r->unfit)
        r->unfit = at_strf("%s: field \"%s\": %s", r->name, field, text);
    return r->unfit || at_fail_memory(r->log, sizeof(text));
}

// A field that must have one value, if it is there.
static bool only(struct reading *r, const char *field, const char *value)
{
    const char *text;
    return at_json_str(r->root, field, value, &text) &&
           (strcmp(text, value) == 0 || unfit(r, field, "\"%.60s\" is not supported, only \"%s\"", text, value));
}

// Flags that must be off.
static bool off(struct reading *r, const char *const *fields)
{
    bool ok = true, on;
    for (; ok && *fields; fields++)
        ok = at_json_bool(r->root, *fields, false, &on) && (!on || unfit(r, *fields, "true is not supported"));
    return ok;
}

// Fields that must be null.
static bool absent(struct reading *r, const char *const *fields)
{
    bool ok = true;
    for (; ok && *fields; fields++)
        ok = !at_json_present(at_json_get(r->root, *fields)) || unfit(r, *fields, "is not supported, only null");
    return ok;
}

static bool read_levels(struct reading *r)
{
    static const char *const finals[] = {"zero", "sigma_min", NULL};
    static const char *const flags[] = {"use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas", NULL};
    int final;
    if (!at_json_bool(r->root, "use_karras_sigmas", false, &r->c.karras) ||
        !at_json_enum(r->root, "final_sigmas_type", finals, 0, &final))
        return false;
    r->c.final_sigma_min = final == 1;
    return off(r, flags);
}

static bool read_euler(struct reading *r)
{
    static const char *const ends[] = {"sigma_min", "sigma_max", NULL};
    return read_levels(r) && only(r, "interpolation_type", "linear") && only(r, "timestep_type", "discrete") &&
           absent(r, ends);
}

static bool read_dpmpp(struct reading *r)
{
    static const char *const flags[] = {"use_lu_lambdas", NULL}, *const learned[] = {"variance_type", NULL};
    struct at_json least = at_json_get(r->root, "lambda_min_clipped"); // -Infinity: none
    double lambda;
    int order;
    return read_levels(r) && only(r, "algorithm_type", "dpmsolver++") && only(r, "solver_type", "midpoint") &&
           at_json_int(r->root, "solver_order", 2, 1, 3, &order) &&
           (order == 2 || unfit(r, "solver_order", "%d is not supported, only 2", order)) && off(r, flags) &&
           absent(r, learned) && at_json_bool(r->root, "euler_at_final", false, &r->c.euler_at_final) &&
           at_json_bool(r->root, "lower_order_final", true, &r->c.lower_order_final) &&
           (!at_json_present(least) || at_json_is_infinite(least) ||
            (at_json_as_num(least, &lambda) && unfit(r, "lambda_min_clipped", "%g is not supported, only -Infinity", lambda)));
}

static bool read_ddpm(struct reading *r)
{
    const char *variance;
    if (!at_json_str(r->root, "variance_type", "fixed_small", &variance))
        return false;
    r->c.large_variance = strcmp(variance, "fixed_large") == 0;
    return r->c.large_variance || strcmp(variance, "fixed_small") == 0 ||
           unfit(r, "variance_type", "\"%.60s\" is not supported, only fixed_small and fixed_large", variance);
}

// What belongs to the file's sampler alone.
static bool read_sampler(struct reading *r)
{
    struct at_schedule_config *c = &r->c;
    switch (c->sampler) {
    case AT_SAMPLER_EULER:
        return read_euler(r);
    case AT_SAMPLER_DPMPP_2M:
        return read_dpmpp(r);
    case AT_SAMPLER_DDPM:
        return read_ddpm(r);
    case AT_SAMPLER_LCM:
        return at_json_int(r->root, "original_inference_steps", c->original_steps, 1, c->train_steps,
                           &c->original_steps) &&
               at_json_num(r->root, "timestep_scaling", c->timestep_scaling, &c->timestep_scaling);
    default:
        return true;
    }
}

// It would change the result without a word if it were ignored.
static bool check_thresholding(struct at_json root)
{
    bool on;
    return at_json_bool(root, "thresholding", false, &on) &&
           (!on || at_json_fail(at_json_get(root, "thresholding"),
                                "dynamic thresholding is not supported (it suits pixel-space models only); set it to "
                                "false"));
}

const char *const at_prediction_names[] = {"epsilon", "v_prediction", "sample", NULL};

static bool read_config(struct reading *r)
{
    static const char *const schedules[] = {"linear", "scaled_linear", "squaredcos_cap_v2", NULL};
    static const char *const spacings[] = {"leading", "trailing", "linspace", NULL};
    struct at_json root = r->root;
    struct at_schedule_config *c = &r->c;
    int schedule = c->beta_schedule, prediction, spacing;
    if (!check_thresholding(root) ||
        !at_json_int(root, "num_train_timesteps", c->train_steps, 1, MAX_STEPS, &c->train_steps) ||
        !read_betas(root, c, &r->betas, r->log) || !at_json_num(root, "beta_start", c->beta_start, &c->beta_start) ||
        !at_json_num(root, "beta_end", c->beta_end, &c->beta_end) ||
        (!r->betas && !at_json_enum(root, "beta_schedule", schedules, schedule, &schedule)) ||
        !at_json_enum(root, "prediction_type", at_prediction_names, c->prediction, &prediction) ||
        !at_json_enum(root, "timestep_spacing", spacings, c->spacing, &spacing) ||
        !at_json_int(root, "steps_offset", c->steps_offset, 0, MAX_STEPS, &c->steps_offset) ||
        !at_json_bool(root, "set_alpha_to_one", c->set_alpha_to_one, &c->set_alpha_to_one) ||
        !at_json_bool(root, "clip_sample", c->clip_sample, &c->clip_sample) ||
        !at_json_num(root, "clip_sample_range", c->clip_range, &c->clip_range) ||
        !at_json_bool(root, "rescale_betas_zero_snr", c->zero_snr, &c->zero_snr) || !read_sampler(r))
        return false;
    c->beta_schedule = (enum at_beta_schedule)schedule;
    c->prediction = (enum at_prediction)prediction;
    c->spacing = (enum at_spacing)spacing;
    return true;
}

static struct at_schedule *read_all(struct reading *r)
{
    if (!at_json_is_object(r->root)) {
        at_json_fail(r->root, "not an object; expected a scheduler_config.json");
        return NULL;
    }
    const struct class *class = class_of(r->root);
    if (!class)
        return NULL;
    r->c = defaults_of(class);
    r->c.name = r->name;
    struct at_schedule *schedule = read_config(r) ? at_schedule_create(&r->c, r->log) : NULL;
    if (schedule) {
        schedule->foreign = class->foreign ? class->name : NULL;
        schedule->unfit = r->unfit;
        r->unfit = NULL;
    }
    return schedule;
}

// Frees the document.
static struct at_schedule *from_document(struct at_json_doc *doc, const char *name, struct at_log *log)
{
    if (!doc)
        return NULL;
    struct reading r = {.root = at_json_root(doc), .name = name, .log = log};
    struct at_schedule *schedule = read_all(&r);
    at_free(r.betas);
    at_free(r.unfit);
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
