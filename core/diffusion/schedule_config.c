// SPDX-License-Identifier: Apache-2.0
// Reading scheduler_config.json into a schedule.
#include "core/diffusion/schedule.h"

#include "core/base/alloc.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct reader {
    const cJSON *root;
    const char *name;
    struct at_log *log;
};

// A field that is absent or null leaves *out as it is.
static const cJSON *field(const struct reader *r, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(r->root, key);
    return item && !cJSON_IsNull(item) ? item : NULL;
}

static bool wrong_type(const struct reader *r, const char *key, const char *wanted)
{
    return at_fail(r->log, AT_ERROR_INPUT, "%s: %s must be %s", r->name, key, wanted);
}

static bool read_number(const struct reader *r, const char *key, double *out)
{
    const cJSON *item = field(r, key);
    if (item && (!cJSON_IsNumber(item) || !isfinite(item->valuedouble)))
        return wrong_type(r, key, "a number");
    if (item)
        *out = item->valuedouble;
    return true;
}

static bool read_int(const struct reader *r, const char *key, int *out)
{
    double value = *out;
    if (!read_number(r, key, &value))
        return false;
    if (value != floor(value) || fabs(value) > 1e9)
        return wrong_type(r, key, "a whole number");
    *out = (int)value;
    return true;
}

static bool read_bool(const struct reader *r, const char *key, bool *out)
{
    const cJSON *item = field(r, key);
    if (item && !cJSON_IsBool(item))
        return wrong_type(r, key, "true or false, without quotes");
    if (item)
        *out = cJSON_IsTrue(item);
    return true;
}

// Index of the field's value in `names` (ended by NULL).
static bool read_choice(const struct reader *r, const char *key, const char *const *names, int *out)
{
    const cJSON *item = field(r, key);
    if (!item)
        return true;
    if (!cJSON_IsString(item))
        return wrong_type(r, key, "a string");
    for (int i = 0; names[i]; i++) {
        if (strcmp(item->valuestring, names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return at_fail(r->log, AT_ERROR_INPUT, "%s: %s is \"%.40s\"; supported are %s, %s%s%s", r->name, key,
                   item->valuestring, names[0], names[1], names[2] ? ", " : "", names[2] ? names[2] : "");
}

static bool read_betas(const struct reader *r, struct at_schedule_config *c, float **betas)
{
    const cJSON *list = field(r, "trained_betas"), *item;
    if (!list)
        return true;
    int n = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0, i = 0;
    if (n != c->train_steps)
        return at_fail(r->log, AT_ERROR_INPUT, "%s: trained_betas has %d numbers; num_train_timesteps is %d", r->name,
                       n, c->train_steps);
    *betas = at_calloc((size_t)n, sizeof(float));
    if (!*betas)
        return at_fail_memory(r->log, (size_t)n * sizeof(float));
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsNumber(item))
            return wrong_type(r, "trained_betas", "a list of numbers");
        (*betas)[i++] = (float)item->valuedouble;
    }
    c->trained_betas = *betas;
    return true;
}

static bool read_config(const struct reader *r, struct at_schedule_config *c, float **betas)
{
    static const char *const schedules[] = {"linear", "scaled_linear", "squaredcos_cap_v2", NULL};
    static const char *const predictions[] = {"epsilon", "v_prediction", "sample", NULL};
    static const char *const spacings[] = {"leading", "trailing", "linspace", NULL};
    const cJSON *class_name = field(r, "_class_name");
    int schedule = c->beta_schedule, prediction = c->prediction, spacing = c->spacing;
    bool thresholding = false;
    if (!cJSON_IsObject(r->root))
        return at_fail(r->log, AT_ERROR_INPUT, "%s: not a JSON object; expected a scheduler_config.json", r->name);
    if (cJSON_IsString(class_name) && strncmp(class_name->valuestring, "FlowMatch", 9) == 0)
        return at_fail(r->log, AT_ERROR_INPUT, "%s: %.60s is a flow matching schedule, which this model class lacks",
                       r->name, class_name->valuestring);
    if (!read_int(r, "num_train_timesteps", &c->train_steps) || !read_betas(r, c, betas) ||
        !read_number(r, "beta_start", &c->beta_start) || !read_number(r, "beta_end", &c->beta_end) ||
        (!*betas && !read_choice(r, "beta_schedule", schedules, &schedule)) ||
        !read_choice(r, "prediction_type", predictions, &prediction) ||
        !read_choice(r, "timestep_spacing", spacings, &spacing) || !read_int(r, "steps_offset", &c->steps_offset) ||
        !read_bool(r, "set_alpha_to_one", &c->set_alpha_to_one) || !read_bool(r, "clip_sample", &c->clip_sample) ||
        !read_number(r, "clip_sample_range", &c->clip_range) || !read_bool(r, "rescale_betas_zero_snr", &c->zero_snr) ||
        !read_bool(r, "thresholding", &thresholding))
        return false;
    if (thresholding)
        return at_fail(r->log, AT_ERROR_INPUT,
                       "%s: thresholding is true, which is not supported (it suits pixel-space models only); set it to "
                       "false",
                       r->name);
    c->beta_schedule = (enum at_beta_schedule)schedule;
    c->prediction = (enum at_prediction)prediction;
    c->spacing = (enum at_spacing)spacing;
    return true;
}

struct at_schedule *at_schedule_parse(const char *text, size_t bytes, const char *name, struct at_log *log)
{
    struct at_schedule_config config = at_schedule_defaults();
    struct at_schedule *schedule = NULL;
    float *betas = NULL;
    cJSON *root = cJSON_ParseWithLength(text, bytes);
    if (!root)
        at_fail(log, AT_ERROR_INPUT, "%s: not valid JSON", name);
    else if (read_config(&(struct reader){root, name, log}, &config, &betas))
        schedule = at_schedule_create(&config, log);
    at_free(betas);
    cJSON_Delete(root);
    return schedule;
}

struct at_schedule *at_schedule_load(const char *path, struct at_log *log)
{
    enum { LIMIT = 1 << 24 };
    struct at_schedule *schedule = NULL;
    FILE *file = fopen(path, "rb");
    if (!file) {
        at_fail(log, AT_ERROR_INPUT, "%s: cannot be opened: %s", path, strerror(errno));
        return NULL;
    }
    char *text = at_calloc(LIMIT, 1);
    size_t bytes = text ? fread(text, 1, LIMIT, file) : 0;
    if (!text)
        at_fail_memory(log, LIMIT);
    else if (bytes == LIMIT || ferror(file))
        at_fail(log, AT_ERROR_INPUT, "%s: cannot be read, or is larger than 16 MiB", path);
    else
        schedule = at_schedule_parse(text, bytes, path, log);
    fclose(file);
    at_free(text);
    return schedule;
}
