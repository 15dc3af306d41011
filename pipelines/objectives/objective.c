// SPDX-License-Identifier: Apache-2.0
#include "pipelines/objectives/objective.h"

#include <math.h>
#include <stdio.h>

double at_log_sigmoid(double z)
{
    return z < 0 ? z - log1p(exp(z)) : -log1p(exp(-z));
}

double at_objective_beta(const struct at_objective_params *p)
{
    return p->beta == 0 ? 2000 : p->beta;
}

static bool errors_are_finite(const struct at_objective_batch *b, const double *errors, const char *whose, size_t *bad,
                              struct at_log *log)
{
    for (size_t i = 0; errors && i < 2 * b->pairs; i++) {
        if (!isfinite(errors[i])) {
            if (bad)
                *bad = i;
            return at_fail(log, AT_ERROR_FAILED,
                           "the %s's error on pair %zu of the batch (%s) is %g; lower the learning rate, or check that "
                           "image and the model's precision (--guard names the layer)",
                           whose, i % b->pairs, i < b->pairs ? "winner" : "loser", errors[i]);
        }
    }
    return true;
}

static bool params_are_valid(const struct at_objective_params *p, const struct at_objective_batch *b,
                             struct at_log *log)
{
    if (b->pairs == 0)
        return at_fail(log, AT_ERROR_USAGE, "the batch holds no pairs");
    if (p->method == AT_OBJECTIVE_DPO && !b->reference)
        return at_fail(log, AT_ERROR_USAGE, "DPO needs the reference model's errors");
    if (!(p->beta >= 0 && isfinite(p->beta)))
        return at_fail(log, AT_ERROR_USAGE, "beta is %g; it must be positive", p->beta);
    if (!(p->label_smoothing >= 0 && p->label_smoothing < 0.5))
        return at_fail(log, AT_ERROR_USAGE, "label smoothing is %g; it must be 0 or more and below 0.5",
                       p->label_smoothing);
    for (size_t i = 0; b->weights && i < b->pairs; i++)
        if (!(b->weights[i] >= 0 && isfinite(b->weights[i])))
            return at_fail(log, AT_ERROR_INPUT, "the weight of pair %zu of the batch is %g; it must be 0 or more", i,
                           b->weights[i]);
    return true;
}

static double mean(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; x && i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

// Fills every metric that does not depend on the method's loss.
static void measure(double beta, const struct at_objective_batch *b, struct at_objective_result *out)
{
    size_t n = b->pairs;
    const double *m = b->policy, *r = b->reference;
    out->policy_win = mean(m, n);
    out->policy_lose = mean(m + n, n);
    out->reference_win = mean(r, n);
    out->reference_lose = mean(r ? r + n : NULL, n);
    out->accuracy = 0.5;
    out->margin = 0;
    if (!r)
        return;
    double right = 0;
    for (size_t i = 0; i < n; i++) {
        double z = -0.5 * beta * ((m[i] - m[n + i]) - (r[i] - r[n + i]));
        right += z > AT_OBJECTIVE_TIE ? 1 : z < -AT_OBJECTIVE_TIE ? 0 : 0.5;
        out->margin += z / (double)n;
    }
    out->accuracy = right / (double)n;
}

bool at_objective_evaluate(const struct at_objective_params *p, const struct at_objective_batch *b, double *dm,
                           struct at_objective_result *result, size_t *bad, struct at_log *log)
{
    if (bad)
        *bad = 2 * b->pairs;
    if (!params_are_valid(p, b, log) || !errors_are_finite(b, b->policy, "policy", bad, log) ||
        !errors_are_finite(b, b->reference, "reference", bad, log))
        return false;
    *result = (struct at_objective_result){0};
    measure(at_objective_beta(p), b, result);
    switch (p->method) {
    case AT_OBJECTIVE_DPO:
        at_objective_dpo(p, b, dm, result);
        return true;
    case AT_OBJECTIVE_SFT:
        at_objective_sft(p, b, dm, result);
        return true;
    }
    return at_fail(log, AT_ERROR_USAGE, "objective %d is unknown", (int)p->method);
}

void at_objective_describe(const struct at_objective_params *p, char *text, size_t bytes)
{
    double beta = at_objective_beta(p);
    if (p->method == AT_OBJECTIVE_SFT)
        snprintf(text, bytes, "SFT: mean squared error of the winners, in epsilon space");
    else
        snprintf(text, bytes,
                 "DPO: -log sigmoid(-1/2 beta margin), beta %g (as %g without the 1/2), errors averaged over elements, "
                 "epsilon space, label smoothing %g",
                 beta, beta / 2, p->label_smoothing);
}
