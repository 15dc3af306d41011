// SPDX-License-Identifier: Apache-2.0
#include "core/base/stats.h"
#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "tests/harness.h"

static void quiet(void *priv, enum at_level level, const char *text)
{
    (void)level;
    snprintf(priv, 512, "%s", text);
}

static char message[512];
static struct at_log silent = {.write = quiet, .priv = message};

static void check_interval(struct at_interval got, double value, double low, double high)
{
    AT_CHECK_NEAR(got.value, value, 1e-12);
    AT_CHECK_NEAR(got.low, low, 1e-12);
    AT_CHECK_NEAR(got.high, high, 1e-12);
}

static void moments_are_right(void)
{
    const double x[] = {2, 4, 4, 4, 5, 5, 7, 9};
    AT_CHECK_NEAR(at_mean(x, 8), 5, 1e-15);
    AT_CHECK_NEAR(at_std(x, 8), 2.138089935299395, 1e-14); // sqrt(32 / 7)
    AT_CHECK(at_mean(x, 0) == 0 && at_std(x, 1) == 0);
}

// Quantiles from Python's statistics.NormalDist.
static void normal_quantiles_are_right(void)
{
    AT_CHECK_NEAR(at_normal_quantile(0.95), 1.9599639845400536, 1e-12);
    AT_CHECK_NEAR(at_normal_quantile(0.99), 2.5758293035489, 1e-12);
    AT_CHECK_NEAR(at_normal_quantile(0.5), 0.6744897501960818, 1e-12);
}

// Values by the closed form in Python; 70 of 100 is also R's prop.test(70, 100, correct = FALSE): 0.6041515 0.7810511.
static void wilson_intervals_are_right(void)
{
    check_interval(at_wilson_wins(70, 0, 30, 0.95), 0.7, 0.6041514536665333, 0.7810511470506722);
    check_interval(at_wilson_wins(60, 20, 20, 0.95), 0.7, 0.6041514536665333, 0.7810511470506722); // ties: half a win
    check_interval(at_wilson_wins(0, 0, 10, 0.95), 0, 0, 0.27753279986288915);
    check_interval(at_wilson_wins(10, 0, 0, 0.95), 1, 0.7224672001371109, 1);
    AT_CHECK(at_wilson(0, 3, 0.95).low <= 0 && at_wilson(1, 3, 0.95).high >= 1); // no rounding beyond the rate
    check_interval(at_wilson(0.6, 12.5, 0.95), 0.6, 0.33780770670080484, 0.8151774109334976);
    check_interval(at_wilson_wins(0, 0, 0, 0.95), 0.5, 0, 1);
}

static void ties_have_a_tolerance(void)
{
    AT_CHECK(at_win_score(1, 0.9999999, 1e-6) == 0.5 && at_win_score(1, 0.9, 1e-6) == 1 &&
             at_win_score(0.9, 1, 1e-6) == 0 && at_win_score(2, 2, 0) == 0.5);
}

static void clusters_shrink_the_sample(void)
{
    const double x[] = {1, 1, 0.5, 0, 0, 0.5, 1, 1, 1, 0};
    const uint32_t prompt[] = {7, 7, 7, 2, 2, 2, 3, 3, 3, 900};
    AT_CHECK_NEAR(at_effective_units(x, prompt, 10), 4.787234042553191, 1e-12); // one-way ANOVA by numpy
    const double same[] = {1, 1, 0, 0, 1, 1}; // all alike inside: as many units as prompts
    const uint32_t pairs[] = {1, 1, 2, 2, 3, 3};
    AT_CHECK_NEAR(at_effective_units(same, pairs, 6), 3, 1e-12);
    const double mixed[] = {1, 0, 0, 1, 1, 0}; // prompts alike, images not: clusters do not matter
    AT_CHECK_NEAR(at_effective_units(mixed, pairs, 6), 6, 1e-12);
    const uint32_t one[] = {5, 5, 5, 5, 5, 5};
    AT_CHECK_NEAR(at_effective_units(same, one, 6), 1, 1e-12);
    AT_CHECK_NEAR(at_effective_units(same, NULL, 6), 6, 1e-12);
}

// For independent normals the percentile interval of the mean tends to mean +- z s / sqrt(n).
static void bootstrap_agrees_with_theory(void)
{
    enum { N = 400 };
    double x[N];
    float z[N];
    struct at_interval got;
    at_rng_normal(z, N, 3, AT_STREAM_MAKE, 0);
    for (int i = 0; i < N; i++)
        x[i] = 0.3 + (double)z[i];
    struct at_bootstrap_params p = {.x = x, .n = N, .rounds = 4000};
    AT_CHECK(at_bootstrap_mean(&p, &got, &silent));
    double half = 1.959964 * at_std(x, N) / sqrt(N);
    AT_CHECK_NEAR(got.value, at_mean(x, N), 0);
    AT_CHECK_NEAR(got.low, got.value - half, 0.12 * half);
    AT_CHECK_NEAR(got.high, got.value + half, 0.12 * half);
    // Each value five times over: resampling prompts does not believe the copies.
    static double copies[5 * N];
    static uint32_t prompt[5 * N];
    for (int i = 0; i < 5 * N; i++) {
        copies[i] = x[i % N];
        prompt[i] = (uint32_t)(i % N);
    }
    struct at_interval clustered, naive;
    p = (struct at_bootstrap_params){.x = copies, .cluster = prompt, .n = (size_t)5 * N, .rounds = 4000};
    AT_CHECK(at_bootstrap_mean(&p, &clustered, &silent));
    AT_CHECK_NEAR(clustered.low, got.low, 1e-12);
    AT_CHECK_NEAR(clustered.high, got.high, 1e-12);
    p.cluster = NULL;
    p.rounds = 1000;
    AT_CHECK(at_bootstrap_mean(&p, &naive, &silent));
    AT_CHECK_NEAR((clustered.high - clustered.low) / (naive.high - naive.low), sqrt(5), 0.2);
}

static void bootstrap_is_repeatable_and_seeded(void)
{
    const double x[] = {1, 0.5, 0, 1, 1, 0, 0.5, 1};
    struct at_bootstrap_params p = {.x = x, .n = 8, .rounds = 199, .seed = 4};
    struct at_interval a, b, c;
    AT_CHECK(at_bootstrap_mean(&p, &a, &silent) && at_bootstrap_mean(&p, &b, &silent));
    AT_CHECK(a.low == b.low && a.high == b.high && a.low < a.value && a.value < a.high);
    p.confidence = 0.5;
    AT_CHECK(at_bootstrap_mean(&p, &c, &silent) && c.high - c.low < a.high - a.low);
    const double flat[] = {0.5, 0.5, 0.5};
    p = (struct at_bootstrap_params){.x = flat, .n = 3};
    AT_CHECK(at_bootstrap_mean(&p, &a, &silent) && a.low == 0.5 && a.high == 0.5);
}

static void nonsense_is_refused(void)
{
    const double x[] = {1, NAN};
    struct at_interval out;
    AT_CHECK(!at_bootstrap_mean(&(struct at_bootstrap_params){.x = x, .n = 0}, &out, &silent));
    AT_CHECK(!at_bootstrap_mean(&(struct at_bootstrap_params){.x = x, .n = 2}, &out, &silent));
    AT_CHECK(strstr(message, "comparison 1 is") != NULL);
    AT_CHECK(!at_bootstrap_mean(&(struct at_bootstrap_params){.x = x, .n = 1, .confidence = 95}, &out, &silent));
    for (size_t k = 1; k <= 3; k++) {
        at_alloc_fail_at(k, false);
        AT_CHECK(!at_bootstrap_mean(&(struct at_bootstrap_params){.x = x, .n = 1}, &out, &silent));
        at_alloc_fail_at(0, false);
    }
    at_alloc_fail_at(1, false);
    AT_CHECK(at_effective_units(x, NULL, 1) == 0);
    at_alloc_fail_at(0, false);
}

int main(void)
{
    AT_RUN(moments_are_right);
    AT_RUN(normal_quantiles_are_right);
    AT_RUN(wilson_intervals_are_right);
    AT_RUN(ties_have_a_tolerance);
    AT_RUN(clusters_shrink_the_sample);
    AT_RUN(bootstrap_agrees_with_theory);
    AT_RUN(bootstrap_is_repeatable_and_seeded);
    AT_RUN(nonsense_is_refused);
    return at_test_end();
}
