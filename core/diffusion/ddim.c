// SPDX-License-Identifier: Apache-2.0
#include "core/diffusion/ddim.h"

#include <math.h>

static bool params_are_valid(const struct at_schedule *s, const struct at_ddim_params *p, struct at_log *log)
{
    int n = s->config.train_steps;
    if (p->t < 0 || p->t >= n)
        return at_fail(log, AT_ERROR_USAGE, "timestep %d is not one of the model's 0 to %d", p->t, n - 1);
    if (p->steps < 1 || p->steps > n)
        return at_fail(log, AT_ERROR_USAGE, "%d sampling steps; choose 1 to %d", p->steps, n);
    if (!(p->eta >= 0 && p->eta <= 1))
        return at_fail(log, AT_ERROR_USAGE, "eta is %g; it must be 0 to 1", p->eta);
    return true;
}

// From noise level `from` to `to` with noise of standard deviation sigma; t names the level in messages.
static bool make_step(const struct at_schedule *s, const struct at_ddim_params *p, double from, double to,
                      struct at_ddim *out, struct at_log *log)
{
    struct at_conversion c = at_conversion_at(s->config.prediction, from);
    if (!c.finite && s->config.prediction == AT_PREDICTION_EPSILON)
        return at_fail(log, AT_ERROR_INPUT,
                       "timestep %d has zero signal, where a noise (epsilon) prediction says nothing about the image; "
                       "a zero-SNR schedule needs v_prediction, or leading spacing",
                       p->t);
    if (!c.finite)
        return at_fail(log, AT_ERROR_INPUT,
                       "before timestep %d there is no noise, so a sample prediction does not determine it; "
                       "set_alpha_to_one must be false",
                       p->t);
    // Eq. 16 of the paper: eta scales the standard deviation of the DDPM posterior.
    double variance = from < 1 ? (1 - to) / (1 - from) * (1 - from / to) : 0;
    double sigma = p->eta > 0 ? p->eta * sqrt(fmax(variance, 0)) : 0;
    *out = (struct at_ddim){
        .x0_x = c.x0_x,
        .x0_y = c.x0_y,
        .eps_x = c.eps_x,
        .eps_y = c.eps_y,
        .next_x0 = sqrt(to),
        .next_eps = sqrt(fmax(1 - to - sigma * sigma, 0)),
        .sigma = sigma,
        .clip = s->config.clip_sample ? s->config.clip_range : 0,
        .clipped_eps = p->clipped_eps && from < 1,
        .root_alpha = sqrt(from),
        .root_beta = sqrt(1 - from),
    };
    out->mean_x = out->next_x0 * c.x0_x + out->next_eps * c.eps_x;
    out->mean_y = out->next_x0 * c.x0_y + out->next_eps * c.eps_y;
    bool sample = s->config.prediction == AT_PREDICTION_SAMPLE && out->root_alpha > 0;
    out->pull = sample ? out->next_x0 / out->root_alpha : out->mean_x;
    return true;
}

bool at_ddim_step(const struct at_schedule *s, const struct at_ddim_params *p, struct at_ddim *out, struct at_log *log)
{
    if (!params_are_valid(s, p, log))
        return false;
    double to = at_schedule_alpha(s, at_schedule_previous(s, p->t, p->steps));
    return make_step(s, p, at_schedule_alpha(s, p->t), to, out, log);
}

bool at_ddim_inverse_step(const struct at_schedule *s, const struct at_ddim_params *p, struct at_ddim *out,
                          struct at_log *log)
{
    if (!params_are_valid(s, p, log))
        return false;
    if (p->eta > 0)
        return at_fail(log, AT_ERROR_USAGE, "DDIM inversion is deterministic: eta is %g, it must be 0", p->eta);
    double from = at_schedule_alpha(s, at_schedule_previous(s, p->t, p->steps));
    return make_step(s, p, from, at_schedule_alpha(s, p->t), out, log);
}

// Where the step leads without noise.
static double next_of(const struct at_ddim *d, double x, double y, double *clean)
{
    double x0 = d->x0_x * x + d->x0_y * y;
    double eps = d->eps_x * x + d->eps_y * y;
    if (d->clip > 0)
        x0 = x0 < -d->clip ? -d->clip : x0 > d->clip ? d->clip : x0; // a NaN stays one
    if (d->clipped_eps)
        eps = (x - d->root_alpha * x0) / d->root_beta;
    *clean = x0;
    return d->next_x0 * x0 + d->next_eps * eps;
}

void at_ddim_apply(const struct at_ddim *d, float *x, const float *y, const float *z, float *x0_out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double x0, next = next_of(d, x[i], y[i], &x0);
        if (d->sigma > 0 && z)
            next += d->sigma * z[i];
        x[i] = (float)next;
        if (x0_out)
            x0_out[i] = (float)x0;
    }
}

double at_ddim_gap(const struct at_ddim *d, const float *x, const float *y, const float *next, float *gap, size_t count)
{
    double sum = 0, size = 0, x0;
    for (size_t i = 0; i < count; i++) {
        double miss = next[i] - next_of(d, x[i], y[i], &x0);
        sum += miss * miss;
        size += (double)next[i] * (double)next[i];
        gap[i] = (float)(miss / d->pull);
    }
    return sqrt(sum / size);
}

void at_diffuse(const struct at_schedule *s, int t, const float *x0, const float *noise, float *out, size_t count)
{
    double a = sqrt(at_schedule_alpha(s, t)), b = sqrt(1 - at_schedule_alpha(s, t));
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(a * x0[i] + b * noise[i]);
}

void at_diffuse_target(const struct at_schedule *s, int t, const float *x0, const float *noise, float *out,
                       size_t count)
{
    double a = sqrt(at_schedule_alpha(s, t)), b = sqrt(1 - at_schedule_alpha(s, t));
    double from_x0 = 0, from_noise = 1;
    if (s->config.prediction == AT_PREDICTION_V) {
        from_x0 = -b;
        from_noise = a;
    } else if (s->config.prediction == AT_PREDICTION_SAMPLE) {
        from_x0 = 1;
        from_noise = 0;
    }
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(from_x0 * x0[i] + from_noise * noise[i]);
}
