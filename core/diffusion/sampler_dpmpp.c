// SPDX-License-Identifier: Apache-2.0
// DPM-Solver++ (2M), the multistep solver of second order in the data prediction: Lu et al. 2022, arXiv 2211.01095,
// algorithm 2, midpoint form.
#include "core/base/alloc.h"
#include "core/diffusion/sampler_fill.h"

#include <math.h>

// n timesteps out of n + 1, the last of which would be the end of the run.
static void dpmpp_timesteps(const struct at_schedule *s, int n, double *t)
{
    int train = s->config.train_steps;
    for (int i = 0; i < n; i++) {
        switch (s->config.spacing) {
        case AT_SPACING_LEADING:
            t[i] = (double)(n - i) * (train / (n + 1)) + s->config.steps_offset;
            break;
        case AT_SPACING_TRAILING:
            t[i] = rint(train + i * ((train - (double)train / n) - train)) - 1;
            break;
        case AT_SPACING_LINSPACE:
            t[i] = rint((n - i) * ((train - 1.0) / n));
            break;
        }
    }
}

static double clock_of(double sigma) // lambda = log(alpha / sigma) of the variance-preserving sample
{
    return -log(sigma);
}

// From sigma to `to`, with what was predicted at `before` (0: nothing).
static void dpmpp_step(const struct at_schedule *s, double before, double sigma, double to,
                       struct at_sampler_step *step)
{
    double alpha = 1 / sqrt(1 + to * to), h = clock_of(to) - clock_of(sigma); // h is infinite when to is 0
    double phi = alpha * -expm1(-h);
    at_sigma_x0(s->config.prediction, sigma, true, step);
    step->next_x = to * alpha / (sigma / sqrt(1 + sigma * sigma));
    step->next_x0 = phi;
    if (before > 0) {
        double r = (clock_of(sigma) - clock_of(before)) / h;
        step->next_x0 = phi * (1 + 0.5 / r);
        step->next_before = -phi * 0.5 / r;
    }
}

static bool fill(const struct at_schedule *s, const struct at_sampler_params *p, struct at_sampler *out, double *sigma,
                 double *t, float *table, struct at_log *log)
{
    int n = out->count, train = s->config.train_steps;
    at_sigma_table(s, table);
    dpmpp_timesteps(s, n, t);
    if (t[0] >= train)
        return at_fail(log, AT_ERROR_USAGE, "%d sampling steps with steps_offset %d reach timestep %g, past the last "
                       "one (%d); use fewer steps", n, s->config.steps_offset, t[0], train - 1);
    for (int i = 0; i < n; i++)
        sigma[i] = at_sigma_at(table, train, t[i]);
    if (p->karras || s->config.karras) {
        at_sigma_karras(table[0], table[train - 1], n, sigma);
        for (int i = 0; i < n; i++)
            t[i] = at_sigma_timestep(table, train, sigma[i]);
        for (int i = 0; i < n && s->config.beta_schedule != AT_BETA_SQUAREDCOS; i++)
            t[i] = rint(t[i]);
    }
    sigma[n] = at_sigma_last(s, table);
    for (int i = 0; i <= n; i++)
        sigma[i] = (float)sigma[i];
    for (int i = 0; i < n; i++) {
        const struct at_schedule_config *c = &s->config;
        bool last = i == n - 1 && (!c->final_sigma_min || c->euler_at_final || (c->lower_order_final && n < 15));
        out->step[i].timestep = floor(t[i]);
        // Of first order are the first step and the last.
        dpmpp_step(s, i && !last ? sigma[i - 1] : 0, sigma[i], sigma[i + 1], &out->step[i]);
    }
    return true;
}

bool at_fill_dpmpp_2m(const struct at_schedule *s, const struct at_sampler_params *p, struct at_sampler *out,
                      struct at_log *log)
{
    size_t n = (size_t)out->count, train = (size_t)s->config.train_steps;
    double *sigma = at_calloc(n + 1, sizeof(*sigma)), *t = at_calloc(n, sizeof(*t));
    float *table = at_calloc(train, sizeof(*table));
    bool ok = (sigma && t && table) || at_fail_memory(log, train * sizeof(*table));
    ok = ok && fill(s, p, out, sigma, t, table, log);
    at_free(sigma);
    at_free(t);
    at_free(table);
    return ok;
}
