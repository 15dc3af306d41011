// SPDX-License-Identifier: Apache-2.0
#include "core/diffusion/schedule.h"

#include "core/base/alloc.h"

#include <math.h>
#include <string.h>

enum { MAX_TRAIN_STEPS = 1 << 20 };

struct at_schedule_config at_schedule_defaults_of(enum at_sampler_kind sampler)
{
    struct at_schedule_config c = {
        .train_steps = 1000,
        .beta_start = 1e-4,
        .beta_end = 0.02,
        .set_alpha_to_one = true,
        .clip_sample = true,
        .clip_range = 1,
        .sampler = sampler,
        .original_steps = 50,
        .timestep_scaling = 10,
        .lower_order_final = true,
    };
    if (sampler == AT_SAMPLER_EULER || sampler == AT_SAMPLER_EULER_ANCESTRAL || sampler == AT_SAMPLER_DPMPP_2M) {
        c.spacing = AT_SPACING_LINSPACE;
        c.clip_sample = false;
    }
    if (sampler == AT_SAMPLER_LCM) {
        c.beta_start = 0.00085;
        c.beta_end = 0.012;
        c.beta_schedule = AT_BETA_SCALED_LINEAR;
        c.clip_sample = false;
    }
    return c;
}

struct at_schedule_config at_schedule_defaults(void)
{
    return at_schedule_defaults_of(AT_SAMPLER_DDIM);
}

// torch.linspace in float32: from both ends, one rounding a value.
static float linspace(float start, float end, int n, int i)
{
    if (n == 1)
        return start;
    float step = (end - start) / (float)(n - 1);
    return i < n / 2 ? fmaf(step, (float)i, start) : fmaf(-step, (float)(n - 1 - i), end);
}

static double squared_cosine(double t)
{
    double c = cos((t + 0.008) / 1.008 * M_PI / 2);
    return c * c;
}

static float beta_at(const struct at_schedule_config *c, int i)
{
    if (c->trained_betas)
        return c->trained_betas[i];
    double n = c->train_steps;
    float root;
    switch (c->beta_schedule) {
    case AT_BETA_SCALED_LINEAR:
        root = linspace((float)sqrt(c->beta_start), (float)sqrt(c->beta_end), c->train_steps, i);
        return root * root;
    case AT_BETA_SQUAREDCOS:
        return (float)fmin(1 - squared_cosine((i + 1) / n) / squared_cosine(i / n), 0.999);
    case AT_BETA_LINEAR:
        break;
    }
    return linspace((float)c->beta_start, (float)c->beta_end, c->train_steps, i);
}

// In place from 1 - beta to its cumulative product: double sums, each rounded to float, as torch does on the host.
static void cumulate(float *alphas, int n)
{
    double product = 1;
    for (int i = 0; i < n; i++) {
        product *= alphas[i];
        alphas[i] = (float)product;
    }
}

// Zero terminal SNR (arXiv 2305.08891, algorithm 1), in float and through beta as diffusers does it, so that the
// roundings agree. `alphas` holds 1 - beta before and after.
static void rescale_zero_snr(float *alphas, int n)
{
    cumulate(alphas, n);
    float first = sqrtf(alphas[0]), last = sqrtf(alphas[n - 1]), scale = first / (first - last), before = 1;
    for (int i = 0; i < n; i++) {
        float root = (sqrtf(alphas[i]) - last) * scale, bar = root * root;
        float beta = 1 - (i ? bar / before : bar);
        alphas[i] = 1 - beta;
        before = bar;
    }
}

static const char *name_of(const struct at_schedule_config *c)
{
    return c->name ? c->name : "scheduler";
}

static bool config_is_valid(const struct at_schedule_config *c, struct at_log *log)
{
    const char *name = name_of(c);
    if (c->train_steps < 1 || c->train_steps > MAX_TRAIN_STEPS)
        return at_fail(log, AT_ERROR_INPUT, "%s: num_train_timesteps is %d; it must be 1 to %d", name, c->train_steps,
                       MAX_TRAIN_STEPS);
    if (!c->trained_betas && c->beta_schedule != AT_BETA_SQUAREDCOS &&
        !(c->beta_start > 0 && c->beta_start <= c->beta_end && c->beta_end < 1))
        return at_fail(log, AT_ERROR_INPUT, "%s: beta_start %g and beta_end %g; 0 < start <= end < 1 is needed", name,
                       c->beta_start, c->beta_end);
    for (int i = 0; c->trained_betas && i < c->train_steps; i++)
        if (!(c->trained_betas[i] >= 0 && c->trained_betas[i] <= 1))
            return at_fail(log, AT_ERROR_INPUT, "%s: trained_betas[%d] is %g; it must be 0 to 1", name, i,
                           (double)c->trained_betas[i]);
    if (c->steps_offset < 0 || c->steps_offset >= c->train_steps)
        return at_fail(log, AT_ERROR_INPUT, "%s: steps_offset is %d; it must be 0 to %d", name, c->steps_offset,
                       c->train_steps - 1);
    if (c->clip_sample && !(c->clip_range > 0 && isfinite(c->clip_range)))
        return at_fail(log, AT_ERROR_INPUT, "%s: clip_sample_range is %g; it must be positive", name, c->clip_range);
    if (c->zero_snr && c->train_steps < 2)
        return at_fail(log, AT_ERROR_INPUT, "%s: rescale_betas_zero_snr needs at least 2 training timesteps", name);
    return true;
}

struct at_schedule *at_schedule_create(const struct at_schedule_config *config, struct at_log *log)
{
    if (!config_is_valid(config, log))
        return NULL;
    size_t n = (size_t)config->train_steps;
    struct at_schedule *s = at_calloc(1, sizeof(*s));
    if (!s || !(s->alphas = at_calloc(n, sizeof(float)))) {
        at_fail_memory(log, n * sizeof(float));
        at_schedule_destroy(&s);
        return NULL;
    }
    s->config = *config;
    s->config.trained_betas = NULL;
    s->config.name = NULL;
    for (int i = 0; i < config->train_steps; i++)
        s->alphas[i] = 1 - beta_at(config, i);
    if (config->zero_snr)
        rescale_zero_snr(s->alphas, config->train_steps);
    cumulate(s->alphas, config->train_steps);
    s->final_alpha = config->set_alpha_to_one ? 1 : s->alphas[0];
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(s->alphas[i])) {
            at_fail(log, AT_ERROR_INPUT, "%s: the noise level of timestep %zu is not a number; check the betas",
                    name_of(config), i);
            at_schedule_destroy(&s);
            return NULL;
        }
    }
    return s;
}

void at_schedule_destroy(struct at_schedule **schedule)
{
    if (!schedule || !*schedule)
        return;
    at_free((*schedule)->alphas);
    at_free((*schedule)->unfit);
    at_free(*schedule);
    *schedule = NULL;
}

// numpy.linspace(0, last, n) rounded half to even.
static void spaced_linearly(int last, int n, int *ascending)
{
    double step = n > 1 ? (double)last / (n - 1) : 0;
    for (int i = 0; i < n; i++)
        ascending[i] = (int)rint(i * step);
    if (n > 1)
        ascending[n - 1] = last;
}

int at_schedule_inverse_timesteps(const struct at_schedule *s, int n, int *out, struct at_log *log)
{
    int steps = s->config.train_steps;
    if (n < 1 || n > steps) {
        at_fail(log, AT_ERROR_USAGE, "%d sampling steps; the model was trained with %d, so choose 1 to %d", n, steps,
                steps);
        return 0;
    }
    switch (s->config.spacing) {
    case AT_SPACING_LEADING:
        for (int i = 0; i < n; i++)
            out[i] = i * (steps / n) + s->config.steps_offset;
        break;
    case AT_SPACING_TRAILING: {
        double delta = (steps - (double)steps / n) - steps; // as numpy.arange makes its step
        for (int i = 0; i < n; i++)
            out[n - 1 - i] = (int)rint(steps + i * delta) - 1;
        break;
    }
    case AT_SPACING_LINSPACE:
        spaced_linearly(steps - 1, n, out);
        break;
    }
    if (out[n - 1] >= steps) {
        at_fail(log, AT_ERROR_USAGE,
                "%d sampling steps with steps_offset %d reach timestep %d, past the last one (%d); use fewer steps", n,
                s->config.steps_offset, out[n - 1], steps - 1);
        return 0;
    }
    return n;
}

int at_schedule_timesteps(const struct at_schedule *s, int n, int *out, struct at_log *log)
{
    int count = at_schedule_inverse_timesteps(s, n, out, log);
    for (int i = 0; i < count / 2; i++) {
        int swap = out[i];
        out[i] = out[count - 1 - i];
        out[count - 1 - i] = swap;
    }
    return count;
}

int at_schedule_previous(const struct at_schedule *s, int t, int n)
{
    return t - s->config.train_steps / n;
}

double at_schedule_alpha(const struct at_schedule *s, int t)
{
    if (t < 0)
        return s->final_alpha;
    return s->alphas[t < s->config.train_steps ? t : s->config.train_steps - 1];
}

double at_schedule_snr(const struct at_schedule *s, int t)
{
    double a = at_schedule_alpha(s, t);
    return a / (1 - a);
}

struct at_conversion at_conversion_at(enum at_prediction prediction, double alpha)
{
    double a = sqrt(alpha), b = sqrt(1 - alpha);
    struct at_conversion c = {0};
    switch (prediction) {
    case AT_PREDICTION_EPSILON:
        c = (struct at_conversion){.x0_x = 1 / a, .x0_y = -b / a, .eps_y = 1, .v_x = -b / a, .v_y = 1 / a};
        break;
    case AT_PREDICTION_V:
        c = (struct at_conversion){.x0_x = a, .x0_y = -b, .eps_x = b, .eps_y = a, .v_y = 1};
        break;
    case AT_PREDICTION_SAMPLE:
        c = (struct at_conversion){.x0_y = 1, .eps_x = 1 / b, .eps_y = -a / b, .v_x = a / b, .v_y = -1 / b};
        break;
    }
    c.finite = prediction == AT_PREDICTION_V || (prediction == AT_PREDICTION_EPSILON ? a > 0 : b > 0);
    return c;
}

double at_schedule_eps_weight(const struct at_schedule *s, int t)
{
    double a = at_schedule_alpha(s, t);
    switch (s->config.prediction) {
    case AT_PREDICTION_V:
        return a;
    case AT_PREDICTION_SAMPLE:
        return a / (1 - a);
    case AT_PREDICTION_EPSILON:
        break;
    }
    return 1;
}
