// SPDX-License-Identifier: Apache-2.0
// The noise of pictures, and guidance against diffusers (tests/golden/make_guidance.py).
#include "core/diffusion/noise.h"

#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/base/rng_torch.h"
#include "core/diffusion/guidance.h"
#include "tests/golden.h"

#define H 3
#define W 5
#define C 4
#define LATENT (H * W * C)

static struct at_log quiet = {.write = at_log_drop};

// Two pictures from one torch generator each, side by side: the draws of one do not move the other's, and every draw is a
// tensor (C,h,w).
static void torch_draws_planes_one_after_the_other(void)
{
    struct at_noise *n = at_noise_create(&(struct at_noise_params){AT_RNG_TORCH, 2, H, W, C}, &quiet);
    const uint64_t seeds[] = {42, 7};
    struct at_rng_torch g[2];
    float x[LATENT], planes[LATENT];
    for (int round = 0; AT_CHECK(n) && round < 4; round++)
        for (int i = 0; i < 2; i++) {
            if (round == 0) {
                at_noise_seed(n, i, seeds[i]);
                at_rng_torch_seed(&g[i], seeds[i]);
                at_noise_initial(n, i, x);
            } else {
                memcpy(x, at_noise_step(n, i, 2 * round), sizeof(x)); // which step it is does not matter
            }
            at_rng_torch_normal(&g[i], planes, LATENT);
            for (int p = 0; p < H * W; p++)
                for (int c = 0; c < C; c++)
                    AT_CHECK_NEAR(x[p * C + c], planes[c * H * W + p], 0);
        }
    at_noise_destroy(&n);
}

static void attune_draws_by_seed_and_step(void)
{
    struct at_noise *n = at_noise_create(&(struct at_noise_params){AT_RNG_ATTUNE, 1, H, W, C}, &quiet);
    float x[LATENT], want[LATENT];
    if (!AT_CHECK(n))
        return;
    at_noise_seed(n, 0, 9);
    at_noise_initial(n, 0, x);
    at_rng_normal(want, LATENT, 9, AT_STREAM_LATENT, 0);
    AT_CHECK(memcmp(x, want, sizeof(x)) == 0);
    at_rng_normal(want, LATENT, 9, AT_STREAM_STEP, 5);
    AT_CHECK(memcmp(at_noise_step(n, 0, 5), want, sizeof(x)) == 0);
    at_noise_destroy(&n);
}

static void guidance_matches_diffusers(void)
{
    cJSON *root = at_golden_load("guidance.json"), *row;
    int rows = 0;
    float negative[60], prompt[60], y[60];
    for (int i = 0; i < 60; i++) {
        negative[i] = (float)(sin(1.3 * i + 0.2) + 0.3);
        prompt[i] = (float)(0.7 * sin(0.9 * i + 1) - 0.1);
    }
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(root, "rows"))
    {
        struct at_guidance g = {cJSON_GetObjectItem(row, "scale")->valuedouble,
                                cJSON_GetObjectItem(row, "rescale")->valuedouble};
        memcpy(y, negative, sizeof(y));
        at_guide(&g, y, prompt, y, 60);
        for (int i = 0; i < 60; i++)
            AT_CHECK_NEAR(y[i], at_golden_at(cJSON_GetObjectItem(row, "y"), i), 3e-6);
        rows++;
    }
    AT_CHECK_INT(rows, 12);
    cJSON_Delete(root);
}

// A prediction without spread has none to be brought back: no division by zero.
static void a_flat_prediction_stays(void)
{
    float flat[4] = {0}, y[4];
    at_guide(&(struct at_guidance){7.5, 0.7}, flat, flat, y, 4);
    for (int i = 0; i < 4; i++)
        AT_CHECK_NEAR(y[i], 0, 0);
}

static void memory_runs_out(void)
{
    for (size_t k = 1;; k++) {
        at_alloc_fail_at(k, false);
        struct at_noise *n = at_noise_create(&(struct at_noise_params){AT_RNG_TORCH, 2, H, W, C}, &quiet);
        bool failed = at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(!n == failed);
        at_noise_destroy(&n);
        if (!failed)
            break;
    }
}

int main(void)
{
    AT_RUN(torch_draws_planes_one_after_the_other);
    AT_RUN(attune_draws_by_seed_and_step);
    AT_RUN(guidance_matches_diffusers);
    AT_RUN(a_flat_prediction_stays);
    AT_RUN(memory_runs_out);
    return at_test_end();
}
