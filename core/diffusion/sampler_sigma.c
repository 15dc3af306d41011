// SPDX-License-Identifier: Apache-2.0
// Noise levels as sigma = sqrt((1 - a) / a), and the samplers that walk them in x0 + sigma eps: Euler and Euler ancestral
// (Karras et al. 2022, arXiv 2206.00364; k-diffusion).
#include "core/base/alloc.h"
#include "core/diffusion/sampler_fill.h"

#include <math.h>

void at_sigma_table(const struct at_schedule *s, float *out)
{
    int n = s->config.train_steps;
    for (int t = 0; t < n; t++) {
        float a = s->alphas[t];
        if (s->config.zero_snr && t == n - 1)
            a = 0x1p-24f;
        out[t] = sqrtf((1 - a) / a);
    }
}

double at_sigma_at(const float *table, int n, double t)
{
    if (t <= 0)
        return table[0];
    if (t >= n - 1)
        return table[n - 1];
    int i = (int)t;
    return table[i] + (t - i) * ((double)table[i + 1] - table[i]);
}

double at_sigma_timestep(const float *table, int n, double sigma)
{
    double level = log(fmax(sigma, 1e-10));
    int low = 0;
    while (low < n - 2 && log((double)table[low + 1]) <= level)
        low++;
    double a = log((double)table[low]), b = log((double)table[low + 1]), w = (a - level) / (a - b);
    w = w < 0 ? 0 : w > 1 ? 1 : w;
    return (1 - w) * low + w * (low + 1);
}

void at_sigma_karras(double low, double high, int count, double *out)
{
    const double rho = 7;
    double a = pow(high, 1 / rho), b = pow(low, 1 / rho);
    for (int i = 0; i < count; i++)
        out[i] = pow(a + (count > 1 ? (double)i / (count - 1) : 0) * (b - a), rho);
}

double at_sigma_last(const struct at_schedule *s, const float *table)
{
    return s->config.final_sigma_min ? (double)table[0] : 0;
}

void at_sigma_x0(enum at_prediction prediction, double sigma, bool scaled, struct at_sampler_step *step)
{
    double alpha = 1 / sqrt(1 + sigma * sigma), x = scaled ? 1 : alpha; // of the variance-preserving sample
    switch (prediction) {
    case AT_PREDICTION_EPSILON:
        step->x0_x = x / alpha;
        step->x0_y = -sigma;
        break;
    case AT_PREDICTION_V:
        step->x0_x = x * alpha;
        step->x0_y = -sigma * alpha;
        break;
    case AT_PREDICTION_SAMPLE:
        step->x0_y = 1;
        break;
    }
}

// Timesteps in float, as numpy makes them; leading and trailing ones are whole.
static bool euler_timesteps(const struct at_schedule *s, int n, double *t, struct at_log *log)
{
    if (s->config.spacing == AT_SPACING_LINSPACE) {
        for (int i = 0; i < n; i++)
            t[n - 1 - i] = (float)(n > 1 ? i * ((s->config.train_steps - 1.0) / (n - 1)) : 0);
        return true;
    }
    int *whole = at_calloc((size_t)n, sizeof(*whole));
    bool ok = (whole || at_fail_memory(log, (size_t)n * sizeof(*whole))) &&
              at_schedule_timesteps(s, n, whole, log) == n;
    for (int i = 0; ok && i < n; i++)
        t[i] = whole[i];
    at_free(whole);
    return ok;
}

// Levels of a run of out->count steps and the one after it, each rounded to float, and the timesteps.
static bool euler_levels(const struct at_schedule *s, const struct at_sampler_params *p, struct at_sampler *out,
                         double *sigma, struct at_log *log)
{
    int n = out->count, train = s->config.train_steps;
    double *t = at_calloc((size_t)n, sizeof(*t));
    float *table = at_calloc((size_t)train, sizeof(*table));
    bool ok = (t && table) || at_fail_memory(log, (size_t)train * sizeof(*table));
    ok = ok && euler_timesteps(s, n, t, log);
    if (ok) {
        at_sigma_table(s, table);
        for (int i = 0; i < n; i++)
            sigma[i] = at_sigma_at(table, train, t[i]);
        if (p->karras || (s->config.karras && out->kind == AT_SAMPLER_EULER)) {
            at_sigma_karras(sigma[n - 1], sigma[0], n, sigma);
            for (int i = 0; i < n; i++)
                t[i] = at_sigma_timestep(table, train, sigma[i]);
        }
        sigma[n] = out->kind == AT_SAMPLER_EULER ? at_sigma_last(s, table) : 0;
        for (int i = 0; i <= n; i++)
            sigma[i] = (float)sigma[i];
        for (int i = 0; i < n; i++)
            out->step[i].timestep = (float)t[i];
    }
    at_free(t);
    at_free(table);
    return ok;
}

// One step from sigma to `down`, then noise of deviation `up`.
static void euler_step(const struct at_schedule *s, double sigma, double down, double up, struct at_sampler_step *step)
{
    at_sigma_x0(s->config.prediction, sigma, false, step);
    step->in_scale = 1 / sqrt(sigma * sigma + 1);
    step->next_x = down / sigma;
    step->next_x0 = 1 - down / sigma;
    step->noise = up;
}

static bool fill(const struct at_schedule *s, const struct at_sampler_params *p, struct at_sampler *out,
                 struct at_log *log)
{
    int n = out->count;
    double *sigma = at_calloc((size_t)n + 1, sizeof(*sigma));
    bool ok = (sigma || at_fail_memory(log, ((size_t)n + 1) * sizeof(*sigma))) && euler_levels(s, p, out, sigma, log);
    for (int i = 0; ok && i < n; i++) {
        double from = sigma[i], to = sigma[i + 1], up = 0;
        if (!(from > 0))
            ok = at_fail(log, AT_ERROR_INPUT, "the schedule has no noise at timestep %g; use fewer steps",
                         out->step[i].timestep);
        else if (out->kind == AT_SAMPLER_EULER_ANCESTRAL)
            up = sqrt(to * to * (from * from - to * to) / (from * from));
        if (ok)
            euler_step(s, from, sqrt(fmax(to * to - up * up, 0)), up, &out->step[i]);
    }
    if (ok)
        out->init_scale = s->config.spacing == AT_SPACING_LEADING ? sqrt(sigma[0] * sigma[0] + 1) : sigma[0];
    at_free(sigma);
    return ok;
}

bool at_fill_euler(const struct at_schedule *s, const struct at_sampler_params *p, struct at_sampler *out,
                   struct at_log *log)
{
    return fill(s, p, out, log);
}

bool at_fill_euler_ancestral(const struct at_schedule *s, const struct at_sampler_params *p, struct at_sampler *out,
                             struct at_log *log)
{
    if (s->config.prediction == AT_PREDICTION_SAMPLE)
        return at_fail(log, AT_ERROR_INPUT, "the sampler euler_a does not go with models that predict the sample");
    return fill(s, p, out, log);
}
