// SPDX-License-Identifier: Apache-2.0
#include "core/diffusion/sampler_fill.h"

#include "core/base/alloc.h"

#include <string.h>

const char *const at_sampler_names[] = {"config", "ddim", "ddpm", "euler", "euler_a", "dpmpp_2m", "lcm", NULL};

static const struct {
    const char *label;
    at_sampler_fill *fill;
} kinds[] = {
    [AT_SAMPLER_DDIM] = {"DDIM", at_fill_ddim},
    [AT_SAMPLER_DDPM] = {"DDPM", at_fill_ddpm},
    [AT_SAMPLER_EULER] = {"Euler", at_fill_euler},
    [AT_SAMPLER_EULER_ANCESTRAL] = {"Euler a", at_fill_euler_ancestral},
    [AT_SAMPLER_DPMPP_2M] = {"DPM++ 2M", at_fill_dpmpp_2m},
    [AT_SAMPLER_LCM] = {"LCM", at_fill_lcm},
};

int at_sampler_find(const char *name)
{
    static const struct {
        const char *name;
        enum at_sampler_kind kind;
    } others[] = {{"k_euler", AT_SAMPLER_EULER},
                  {"k_euler_a", AT_SAMPLER_EULER_ANCESTRAL},
                  {"dpmsolver++", AT_SAMPLER_DPMPP_2M}};
    for (int i = AT_SAMPLER_DDIM; at_sampler_names[i]; i++)
        if (strcmp(at_sampler_names[i], name) == 0)
            return i;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (strcmp(others[i].name, name) == 0)
            return (int)others[i].kind;
    return -1;
}

const char *at_sampler_label(enum at_sampler_kind kind)
{
    return kind == AT_SAMPLER_CONFIG ? "" : kinds[kind].label;
}

struct at_sampler *at_sampler_create(const struct at_schedule *s, const struct at_sampler_params *p, struct at_log *log)
{
    enum at_sampler_kind kind = p->kind == AT_SAMPLER_CONFIG ? s->config.sampler : p->kind;
    bool levels = kind == AT_SAMPLER_EULER || kind == AT_SAMPLER_DPMPP_2M;
    if (p->steps < 1 || p->steps > s->config.train_steps) {
        at_fail(log, AT_ERROR_USAGE, "%d sampling steps; the model was trained with %d, so choose 1 to %d", p->steps,
                s->config.train_steps, s->config.train_steps);
        return NULL;
    }
    if (p->kind == AT_SAMPLER_CONFIG && s->unfit) {
        at_fail(log, AT_ERROR_INPUT, "%s; --sampler %s does without, as does another of " AT_SAMPLER_WORDS, s->unfit,
                at_sampler_names[kind]);
        return NULL;
    }
    if (p->eta != 0 && kind != AT_SAMPLER_DDIM) {
        at_fail(log, AT_ERROR_USAGE, "eta %g belongs to the sampler ddim, not to %s", p->eta, at_sampler_names[kind]);
        return NULL;
    }
    if (p->karras && !levels) {
        at_fail(log, AT_ERROR_USAGE, "Karras noise levels belong to the samplers euler and dpmpp_2m, not to %s",
                at_sampler_names[kind]);
        return NULL;
    }
    struct at_sampler *out = at_calloc(1, sizeof(*out));
    if (!out || !(out->step = at_calloc((size_t)p->steps, sizeof(*out->step)))) {
        at_fail_memory(log, (size_t)p->steps * sizeof(*out->step));
        at_sampler_destroy(&out);
        return NULL;
    }
    out->kind = kind;
    out->count = p->steps;
    out->init_scale = 1;
    for (int i = 0; i < out->count; i++)
        out->step[i].in_scale = 1;
    if (!kinds[kind].fill(s, p, out, log))
        at_sampler_destroy(&out);
    return out;
}

void at_sampler_destroy(struct at_sampler **sampler)
{
    if (!*sampler)
        return;
    at_free((*sampler)->step);
    at_free(*sampler);
    *sampler = NULL;
}

void at_sampler_apply(const struct at_sampler_step *s, float *x, const float *y, float *x0, const float *z,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double before = s->next_before != 0 ? (double)x0[i] : 0;
        double now = s->x0_x * (double)x[i] + s->x0_y * (double)y[i];
        if (s->clip > 0)
            now = now < -s->clip ? -s->clip : now > s->clip ? s->clip : now; // a NaN stays one
        double next = s->next_x * (double)x[i] + s->next_y * (double)y[i] + s->next_x0 * now + s->next_before * before;
        if (s->noise > 0)
            next += s->noise * (double)z[i];
        x[i] = (float)next;
        x0[i] = (float)now;
    }
}
