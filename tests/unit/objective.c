// SPDX-License-Identifier: Apache-2.0
#include "pipelines/objectives/objective.h"
#include "core/base/rng.h"
#include "tests/harness.h"

enum { PAIRS = 5 };

static void quiet(void *priv, enum at_level level, const char *text)
{
    (void)level;
    snprintf(priv, 512, "%s", text);
}

static char message[512];
static struct at_log silent = {.write = quiet, .priv = message};

// Errors near `centre`, spread by `spread`.
static void draw(double *out, double centre, double spread, uint64_t stream)
{
    for (uint64_t i = 0; i < 2 * PAIRS; i++)
        out[i] = centre + spread * (at_rng_uniform(11, stream, i) - 0.5);
}

static double loss_of(const struct at_objective_params *p, const double *m, const double *r, const double *w)
{
    double dm[2 * PAIRS];
    struct at_objective_result result = {0};
    struct at_objective_batch b = {.pairs = PAIRS, .policy = m, .reference = r, .weights = w};
    AT_CHECK(at_objective_evaluate(p, &b, dm, &result, NULL, &silent));
    return result.loss;
}

static void gradients_match_finite_differences(void)
{
    const double weights[PAIRS] = {1, 0.25, 2, 0, 1.5};
    const struct at_objective_params cases[] = {
        {.beta = 2000}, {.beta = 50, .label_smoothing = 0.1}, {.method = AT_OBJECTIVE_SFT}};
    for (int c = 0; c < 6; c++) {
        const struct at_objective_params *p = &cases[c / 2];
        const double *w = c % 2 ? weights : NULL;
        double m[2 * PAIRS], r[2 * PAIRS], dm[2 * PAIRS], h = 1e-7;
        draw(m, 0.1, 0.004, 100);
        draw(r, 0.1, 0.004, 101);
        struct at_objective_result result;
        struct at_objective_batch b = {.pairs = PAIRS, .policy = m, .reference = r, .weights = w};
        AT_CHECK(at_objective_evaluate(p, &b, dm, &result, NULL, &silent));
        for (int i = 0; i < 2 * PAIRS; i++) {
            double keep = m[i];
            m[i] = keep + h;
            double up = loss_of(p, m, r, w);
            m[i] = keep - h;
            double down = loss_of(p, m, r, w);
            m[i] = keep;
            AT_CHECK_NEAR(dm[i], (up - down) / (2 * h), 1e-6 * fmax(1, fabs(dm[i])));
        }
    }
}

// Worked by hand: one pair, m = (0.10, 0.13), r = (0.11, 0.12), beta 100: z = -50 ((-0.03) - (-0.01)) = 1.
static void dpo_is_the_published_formula(void)
{
    double m[2] = {0.10, 0.13}, r[2] = {0.11, 0.12}, dm[2];
    struct at_objective_params p = {.beta = 100};
    struct at_objective_batch b = {.pairs = 1, .policy = m, .reference = r};
    struct at_objective_result result;
    AT_CHECK(at_objective_evaluate(&p, &b, dm, &result, NULL, &silent));
    AT_CHECK_NEAR(result.margin, 1, 1e-12);
    AT_CHECK_NEAR(result.loss, 0.31326168751822286, 1e-12); // log(1 + 1/e)
    AT_CHECK_NEAR(dm[0], 50 * 0.2689414213699951, 1e-10);   // sigmoid(-1)
    AT_CHECK_NEAR(dm[1], -50 * 0.2689414213699951, 1e-10);
    AT_CHECK(result.accuracy == 1);
    AT_CHECK_NEAR(result.policy_win, 0.10, 0);
    AT_CHECK_NEAR(result.policy_lose, 0.13, 0);
    AT_CHECK_NEAR(result.reference_win, 0.11, 0);
    AT_CHECK_NEAR(result.reference_lose, 0.12, 0);
}

static void a_fresh_adapter_gives_ln_2(void)
{
    double m[2 * PAIRS], dm[2 * PAIRS];
    draw(m, 0.2, 0.1, 102);
    struct at_objective_batch b = {.pairs = PAIRS, .policy = m, .reference = m};
    struct at_objective_result result;
    AT_CHECK(at_objective_evaluate(&(struct at_objective_params){0}, &b, dm, &result, NULL, &silent));
    AT_CHECK_NEAR(result.loss, 0.693147180559945309, 1e-15);
    AT_CHECK(result.accuracy == 0.5 && result.margin == 0);
    AT_CHECK_NEAR(dm[0], 2000 * 0.5 * 0.5 / PAIRS, 1e-9);
}

// The same strength in the two conventions in use: 5000 with the 1/2 and 2500 without.
static void beta_conventions_agree(void)
{
    double m[2 * PAIRS], r[2 * PAIRS], dm[2 * PAIRS], loss = 0;
    draw(m, 0.1, 0.001, 103);
    draw(r, 0.1, 0.001, 104);
    struct at_objective_batch b = {.pairs = PAIRS, .policy = m, .reference = r};
    struct at_objective_result result;
    AT_CHECK(at_objective_evaluate(&(struct at_objective_params){.beta = 5000}, &b, dm, &result, NULL, &silent));
    for (int i = 0; i < PAIRS; i++) {
        double logit = 2500 * ((r[i] - r[PAIRS + i]) - (m[i] - m[PAIRS + i]));
        loss += log(1 + exp(-logit)) / PAIRS;
        AT_CHECK_NEAR(dm[i], 2500 / (1 + exp(logit)) / PAIRS, 1e-9);
    }
    AT_CHECK_NEAR(result.loss, loss, 1e-12);
    char text[256];
    at_objective_describe(&(struct at_objective_params){.beta = 5000}, text, sizeof(text));
    AT_CHECK(strstr(text, "beta 5000 (as 2500 without the 1/2)") != NULL);
}

// The average comes after log-sigmoid: two opposite margins do not cancel to ln 2.
static void pairs_are_averaged_after_the_sigmoid(void)
{
    double m[4] = {0.1, 0.2, 0.2, 0.1}, r[4] = {0.1, 0.1, 0.1, 0.1}, dm[4];
    struct at_objective_batch b = {.pairs = 2, .policy = m, .reference = r};
    struct at_objective_result result;
    AT_CHECK(at_objective_evaluate(&(struct at_objective_params){.beta = 60}, &b, dm, &result, NULL, &silent));
    AT_CHECK_NEAR(result.margin, 0, 1e-12);
    AT_CHECK_NEAR(result.loss, (log(1 + exp(3.0)) + log(1 + exp(-3.0))) / 2, 1e-12);
    AT_CHECK(result.accuracy == 0.5);
}

static void far_margins_stay_finite(void)
{
    double m[2] = {1e6, 0}, r[2] = {0, 0}, dm[2];
    struct at_objective_batch b = {.pairs = 1, .policy = m, .reference = r};
    struct at_objective_result result;
    AT_CHECK(at_objective_evaluate(&(struct at_objective_params){0}, &b, dm, &result, NULL, &silent));
    AT_CHECK_NEAR(result.loss, 1e9, 1e-3);
    AT_CHECK_NEAR(dm[0], 1000, 1e-9);
    m[0] = -1e6;
    AT_CHECK(at_objective_evaluate(&(struct at_objective_params){0}, &b, dm, &result, NULL, &silent));
    AT_CHECK(result.loss == 0 && dm[0] == 0 && dm[1] == 0);
    AT_CHECK_NEAR(at_log_sigmoid(-800), -800, 0);
}

static void smoothing_pulls_back_from_certainty(void)
{
    double m[2] = {-0.01, 0.01}, r[2] = {0, 0}, dm[2];
    struct at_objective_batch b = {.pairs = 1, .policy = m, .reference = r};
    struct at_objective_result result;
    AT_CHECK(at_objective_evaluate(&(struct at_objective_params){.label_smoothing = 0.2}, &b, dm, &result, NULL,
                                   &silent)); // z = 20
    AT_CHECK_NEAR(result.loss, 0.2 * 20, 1e-6);
    AT_CHECK(dm[0] < 0);
}

static void a_bad_error_is_named(void)
{
    double m[2 * PAIRS], r[2 * PAIRS], dm[2 * PAIRS];
    draw(m, 0.1, 0.01, 105);
    draw(r, 0.1, 0.01, 106);
    struct at_objective_batch b = {.pairs = PAIRS, .policy = m, .reference = r};
    struct at_objective_result result;
    size_t bad = 99;
    m[PAIRS + 3] = NAN;
    AT_CHECK(!at_objective_evaluate(&(struct at_objective_params){0}, &b, dm, &result, &bad, &silent));
    AT_CHECK_INT(bad, PAIRS + 3);
    AT_CHECK(strstr(message, "policy's error on pair 3 of the batch (loser)") != NULL);
    m[PAIRS + 3] = 0.1;
    r[1] = INFINITY;
    AT_CHECK(!at_objective_evaluate(&(struct at_objective_params){0}, &b, dm, &result, &bad, &silent));
    AT_CHECK_INT(bad, 1);
    AT_CHECK(strstr(message, "reference's error on pair 1 of the batch (winner)") != NULL);
}

static void bad_parameters_are_refused(void)
{
    double m[2] = {1, 2}, dm[2];
    struct at_objective_batch b = {.pairs = 1, .policy = m, .reference = m}, none = {.pairs = 1, .policy = m};
    struct at_objective_result result;
    size_t bad = 99;
    AT_CHECK(!at_objective_evaluate(&(struct at_objective_params){.beta = -1}, &b, dm, &result, &bad, &silent));
    AT_CHECK_INT(bad, 2);
    AT_CHECK(!at_objective_evaluate(&(struct at_objective_params){.beta = NAN}, &b, dm, &result, &bad, &silent));
    AT_CHECK(
        !at_objective_evaluate(&(struct at_objective_params){.label_smoothing = 0.5}, &b, dm, &result, &bad, &silent));
    AT_CHECK(!at_objective_evaluate(&(struct at_objective_params){0}, &none, dm, &result, &bad, &silent));
    AT_CHECK(strstr(message, "reference") != NULL);
    b.pairs = 0;
    AT_CHECK(!at_objective_evaluate(&(struct at_objective_params){0}, &b, dm, &result, &bad, &silent));
}

static void sft_learns_from_winners_alone(void)
{
    double m[4] = {1, 3, 100, 200}, dm[4];
    struct at_objective_batch b = {.pairs = 2, .policy = m};
    struct at_objective_result result;
    AT_CHECK(at_objective_evaluate(&(struct at_objective_params){.method = AT_OBJECTIVE_SFT}, &b, dm, &result, NULL,
                                   &silent));
    AT_CHECK_NEAR(result.loss, 2, 0);
    AT_CHECK(dm[0] == 0.5 && dm[1] == 0.5 && dm[2] == 0 && dm[3] == 0);
    AT_CHECK(result.accuracy == 0.5 && result.policy_lose == 150 && result.reference_win == 0);
}

int main(void)
{
    AT_RUN(gradients_match_finite_differences);
    AT_RUN(dpo_is_the_published_formula);
    AT_RUN(a_fresh_adapter_gives_ln_2);
    AT_RUN(beta_conventions_agree);
    AT_RUN(pairs_are_averaged_after_the_sigmoid);
    AT_RUN(far_margins_stay_finite);
    AT_RUN(smoothing_pulls_back_from_certainty);
    AT_RUN(a_bad_error_is_named);
    AT_RUN(bad_parameters_are_refused);
    AT_RUN(sft_learns_from_winners_alone);
    return at_test_end();
}
