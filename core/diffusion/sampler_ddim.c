// SPDX-License-Identifier: Apache-2.0
// The samplers that walk the training timesteps: DDIM (arXiv 2010.02502), DDPM (2006.11239), LCM (2310.04378).
#include "core/base/alloc.h"
#include "core/diffusion/ddim.h"
#include "core/diffusion/sampler_fill.h"

#include <math.h>

static int *timesteps(const struct at_schedule *s, int n, struct at_log *log)
{
    int *t = at_calloc((size_t)n, sizeof(*t));
    if (!t) {
        at_fail_memory(log, (size_t)n * sizeof(*t));
    } else if (at_schedule_timesteps(s, n, t, log) != n) {
        at_free(t);
        t = NULL;
    }
    return t;
}

bool at_fill_ddim(const struct at_schedule *s, const struct at_sampler_params *p, struct at_sampler *out,
                  struct at_log *log)
{
    int *t = timesteps(s, p->steps, log);
    bool ok = t;
    for (int i = 0; ok && i < out->count; i++) {
        struct at_ddim d;
        struct at_sampler_step *step = &out->step[i];
        ok = at_ddim_step(s, &(struct at_ddim_params){.t = t[i], .steps = p->steps, .eta = p->eta}, &d, log);
        if (ok)
            *step = (struct at_sampler_step){
                .timestep = t[i], .in_scale = 1, .x0_x = d.x0_x, .x0_y = d.x0_y, .clip = d.clip,
                .next_x = d.next_eps * d.eps_x, .next_y = d.next_eps * d.eps_y, .next_x0 = d.next_x0, .noise = d.sigma};
    }
    at_free(t);
    return ok;
}

// x0 at cumulative product a; false (logged) where the network's output does not determine it.
static bool set_x0(const struct at_schedule *s, int t, struct at_sampler_step *step, struct at_log *log)
{
    struct at_conversion c = at_conversion_at(s->config.prediction, at_schedule_alpha(s, t));
    step->timestep = t;
    step->x0_x = c.x0_x;
    step->x0_y = c.x0_y;
    step->clip = s->config.clip_sample ? s->config.clip_range : 0;
    if (isfinite(c.x0_x) && isfinite(c.x0_y))
        return true;
    return at_fail(log, AT_ERROR_INPUT, "timestep %d has zero signal, where a noise (epsilon) prediction says nothing "
                   "about the image; a zero-SNR schedule needs v_prediction, or leading spacing", t);
}

bool at_fill_ddpm(const struct at_schedule *s, const struct at_sampler_params *p, struct at_sampler *out,
                  struct at_log *log)
{
    int *t = timesteps(s, p->steps, log);
    bool ok = t;
    for (int i = 0; ok && i < out->count; i++) {
        struct at_sampler_step *step = &out->step[i];
        double a = at_schedule_alpha(s, t[i]), to = i + 1 < out->count ? at_schedule_alpha(s, t[i + 1]) : 1;
        double alpha = a / to, beta = 1 - alpha; // of this step; eq. 7 of the paper
        ok = set_x0(s, t[i], step, log);
        step->next_x0 = sqrt(to) * beta / (1 - a);
        step->next_x = sqrt(alpha) * (1 - to) / (1 - a);
        double variance = s->config.large_variance ? beta : fmax((1 - to) / (1 - a) * beta, 1e-20);
        step->noise = t[i] > 0 ? sqrt(variance) : 0;
    }
    at_free(t);
    return ok;
}

bool at_fill_lcm(const struct at_schedule *s, const struct at_sampler_params *p, struct at_sampler *out,
                 struct at_log *log)
{
    const double data = 0.5; // sigma_data of consistency models (arXiv 2303.01469)
    int n = p->steps, original = s->config.original_steps, k = s->config.train_steps / original;
    if (n > original)
        return at_fail(log, AT_ERROR_USAGE, "%d steps of LCM; the model was distilled for %d "
                       "(original_inference_steps), so choose 1 to %d", n, original, original);
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        struct at_sampler_step *step = &out->step[i];
        int t = (original - (int)floor(i * ((double)original / n))) * k - 1;
        int next = (original - (int)floor((i + 1) * ((double)original / n))) * k - 1;
        double to = at_schedule_alpha(s, next), scaled = t * s->config.timestep_scaling;
        bool last = i == n - 1;
        ok = set_x0(s, t, step, log);
        double sum = scaled * scaled + data * data, skip = data * data / sum, take = scaled / sqrt(sum);
        step->next_x = (last ? 1 : sqrt(to)) * skip;
        step->next_x0 = (last ? 1 : sqrt(to)) * take;
        step->noise = last ? 0 : sqrt(1 - to);
    }
    return ok;
}
