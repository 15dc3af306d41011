// SPDX-License-Identifier: Apache-2.0
#include "pipelines/eval/compare.h"

#include "core/base/alloc.h"

#include <math.h>

// What the statistics are computed from, (prompts, seeds) each.
struct values {
    double *wins; // 1, 0.5 or 0
    double *differences;
    uint32_t *prompt;
};

static bool check(const double *a, const double *b, const struct at_compare_params *p, struct at_log *log)
{
    size_t n = p->prompts * p->seeds;
    if (p->prompts == 0 || p->seeds == 0 || n / p->seeds != p->prompts || n > UINT32_MAX)
        return at_fail(log, AT_ERROR_USAGE, "comparison of %zu prompts x %zu seeds; use at least one of each",
                       p->prompts, p->seeds);
    if (!(p->tolerance >= 0) || !isfinite(p->tolerance))
        return at_fail(log, AT_ERROR_USAGE, "tolerance %g: use 0 or a small positive number", p->tolerance);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(a[i]) || !isfinite(b[i]))
            return at_fail(log, AT_ERROR_INPUT, "scores of prompt %zu, seed %zu are %g and %g; they must be finite",
                           i / p->seeds + 1, i % p->seeds + 1, a[i], b[i]);
    return true;
}

static void fill(const double *a, const double *b, const struct at_compare_params *p, const struct values *v,
                 struct at_comparison *out)
{
    for (size_t i = 0; i < p->prompts * p->seeds; i++) {
        v->wins[i] = at_win_score(b[i], a[i], p->tolerance);
        v->differences[i] = b[i] - a[i];
        v->prompt[i] = (uint32_t)(i / p->seeds);
        out->wins += v->wins[i] == 1;
        out->losses += v->wins[i] == 0;
        out->ties += v->wins[i] == 0.5;
    }
}

static bool summarise(const double *a, const double *b, const struct at_compare_params *p, const struct values *v,
                      struct at_comparison *out, struct at_log *log)
{
    size_t n = p->prompts * p->seeds;
    double confidence = p->confidence == 0 ? 0.95 : p->confidence;
    struct at_bootstrap_params boot = {.x = v->wins,
                                       .cluster = v->prompt,
                                       .n = n,
                                       .rounds = p->rounds,
                                       .confidence = confidence,
                                       .seed = p->seed};
    if (!at_bootstrap_mean(&boot, &out->win_bootstrap, log))
        return false;
    boot.x = v->differences;
    if (!at_bootstrap_mean(&boot, &out->difference, log))
        return false;
    out->mean_a = at_mean(a, n);
    out->mean_b = at_mean(b, n);
    out->win_rate = at_wilson(at_mean(v->wins, n), (double)p->prompts, confidence);
    out->units = at_effective_units(v->wins, v->prompt, n);
    return out->units > 0 || at_fail_memory(log, n * sizeof(*a));
}

bool at_compare(const double *a, const double *b, const struct at_compare_params *params, struct at_comparison *out,
                struct at_log *log)
{
    *out = (struct at_comparison){.prompts = params->prompts, .seeds = params->seeds};
    if (!check(a, b, params, log))
        return false;
    size_t n = params->prompts * params->seeds;
    struct values v = {at_calloc(n, sizeof(*v.wins)), at_calloc(n, sizeof(*v.differences)),
                       at_calloc(n, sizeof(*v.prompt))};
    bool ok = (v.wins && v.differences && v.prompt) || at_fail_memory(log, n * sizeof(*v.wins));
    if (ok) {
        fill(a, b, params, &v, out);
        ok = summarise(a, b, params, &v, out, log);
    }
    at_free(v.wins);
    at_free(v.differences);
    at_free(v.prompt);
    return ok;
}
