// SPDX-License-Identifier: Apache-2.0
// torch's normals, call by call, against torch (tests/golden/make_rng.py).
#include "core/base/rng_torch.h"

#include "core/base/alloc.h"
#include "tests/golden.h"

// torch rounds logarithm, sine and cosine its own way. Measured: 2.9e-7 here, 4.8e-7 over a million values.
#define TOLERANCE 2e-6

static double worst;

static bool same_call(struct at_rng_torch *g, const cJSON *call)
{
    int n = cJSON_GetObjectItem(call, "n")->valueint;
    const cJSON *want = cJSON_GetObjectItem(call, "x");
    float *x = at_calloc((size_t)n, sizeof(float));
    double sum = 0;
    at_rng_torch_normal(g, x, (size_t)n);
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * (double)(7919LL * i % 1013) / 1013;
    bool ok = AT_CHECK(fabs(sum - cJSON_GetObjectItem(call, "sum")->valuedouble) < TOLERANCE * fmax(1, n / 16.0));
    for (int i = 0; i < cJSON_GetArraySize(want); i++) {
        double error = fabs((double)x[n <= 40 || i < 20 ? i : n - 40 + i] - at_golden_at(want, i));
        worst = error > worst ? error : worst;
        ok = AT_CHECK(error <= TOLERANCE) && ok;
    }
    at_free(x);
    return ok;
}

static void normals_match_torch(void)
{
    cJSON *root = at_golden_load("rng_torch.json"), *run, *call;
    int calls = 0;
    cJSON_ArrayForEach(run, cJSON_GetObjectItem(root, "runs"))
    {
        struct at_rng_torch g;
        double seed = cJSON_GetObjectItem(run, "seed")->valuedouble;
        at_rng_torch_seed(&g, (uint64_t)seed);
        cJSON_ArrayForEach(call, cJSON_GetObjectItem(run, "calls"))
        {
            if (!same_call(&g, call))
                printf("  seed %.0f, %d values\n", seed, cJSON_GetObjectItem(call, "n")->valueint);
            calls++;
        }
    }
    printf("  %d calls, largest error %.1e\n", calls, worst);
    AT_CHECK(calls > 100);
    cJSON_Delete(root);
}

// The 10000th word of seed 5489, as the C++ standard has it for std::mt19937 (rand.predef).
static void words_are_those_of_the_standard(void)
{
    struct at_rng_torch g;
    uint32_t word = 0;
    at_rng_torch_seed(&g, 5489);
    for (int i = 0; i < 10000; i++)
        word = at_rng_torch_next(&g);
    AT_CHECK(word == 4123659995u);
}

static void only_the_low_half_of_a_seed_counts(void)
{
    struct at_rng_torch a, b;
    float x[40], y[40];
    at_rng_torch_seed(&a, 7);
    at_rng_torch_seed(&b, ((uint64_t)1 << 40) + 7);
    at_rng_torch_normal(&a, x, 40);
    at_rng_torch_normal(&b, y, 40);
    AT_CHECK(memcmp(x, y, sizeof(x)) == 0);
}

int main(void)
{
    AT_RUN(normals_match_torch);
    AT_RUN(words_are_those_of_the_standard);
    AT_RUN(only_the_low_half_of_a_seed_counts);
    return at_test_end();
}
