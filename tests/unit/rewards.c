// SPDX-License-Identifier: Apache-2.0
#include "pipelines/rewards/reward.h"
#include "tests/unit/capture.h"

static struct at_truth *truth;
static struct capture capture;

// The score of a picture, or NaN.
static double score(const struct at_reward *reward, const char *prompt, const float *rgb, int width, int height)
{
    struct at_picture picture = {prompt, rgb, width, height};
    double out = NAN;
    return at_reward_score(capture_start(&capture), reward, truth, &picture, &out) ? out : NAN;
}

static void reduction_is_the_mean_of_each_cell(void)
{
    static float rgb[48 * 32 * 3], out[AT_TRUTH_VALUES];
    for (int i = 0; i < 48 * 32; i++)
        for (int c = 0; c < 3; c++)
            rgb[3 * i + c] = (float)(i % 48) / 48.0f + (float)c; // rises along x
    at_truth_reduce(rgb, 48, 32, out);
    for (int x = 0; x < 16; x++) // a cell holds columns 3x, 3x+1, 3x+2
        AT_CHECK_NEAR(out[3 * (5 * 16 + x) + 2], (3 * x + 1) / 48.0 + 2, 1e-6);
    // 24 columns: cell 0 is column 0 and half of column 1, cell 1 the other half and column 2.
    at_truth_reduce(rgb, 24, 24, out);
    for (int i = 0; i < 24 * 24; i++)
        rgb[3 * i] = (float)(i % 24);
    at_truth_reduce(rgb, 24, 24, out);
    AT_CHECK_NEAR(out[0], 1 / 3.0, 1e-6);
    AT_CHECK_NEAR(out[3], 5 / 3.0, 1e-6);
    rgb[0] = 0.25f;
    at_truth_reduce(rgb, 1, 1, out); // smaller than a cell
    AT_CHECK_NEAR(out[3 * 255], 0.25, 1e-7);
}

static void errors_are_in_units_of_minus_one_to_one(void)
{
    static float black[AT_TRUTH_VALUES], half[AT_TRUTH_VALUES];
    for (int i = 0; i < AT_TRUTH_VALUES; i++)
        half[i] = 0.5f;
    AT_CHECK_NEAR(at_truth_error(black, half), 1, 1e-9);
    AT_CHECK_NEAR(at_truth_error(half, half), 0, 0);
}

static void the_true_picture_scores_best(void)
{
    static float rgb[32 * 32 * 3], white[32 * 32 * 3];
    const struct at_emoji_set *names = at_truth_names(truth);
    for (size_t i = 0; i < sizeof(white) / sizeof(white[0]); i++)
        white[i] = 1;
    for (size_t i = 0; i < names->count; i += 17) {
        const struct at_emoji *item = &names->items[i];
        AT_CHECK(at_emoji_draw(NULL, item, &at_emoji_truth, 32, rgb));
        double own = score(&at_reward_fidelity, item->caption, rgb, 32, 32);
        AT_CHECK(own <= 0 && own > -0.01); // drawn at 32 pixels, not at 128
        AT_CHECK(own > score(&at_reward_fidelity, item->caption, white, 32, 32));
        AT_CHECK(own > score(&at_reward_fidelity, names->items[(i + 1) % names->count].caption, rgb, 32, 32));
        AT_CHECK_INT(at_truth_rank(NULL, truth, item->caption, rgb, 32, 32), 1);
    }
}

static void fidelity_is_minus_the_error(void)
{
    const char *name = at_truth_names(truth)->items[0].caption;
    static float rgb[AT_TRUTH_VALUES];
    memcpy(rgb, at_truth_find(NULL, truth, name), sizeof(rgb));
    AT_CHECK_NEAR(score(&at_reward_fidelity, name, rgb, 16, 16), 0, 1e-12);
    for (int i = 0; i < 3 * 64; i++) // a quarter of the picture, off by 0.1
        rgb[i] += rgb[i] > 0.5f ? -0.1f : 0.1f;
    AT_CHECK_NEAR(score(&at_reward_fidelity, name, rgb, 16, 16), -0.25 * 0.04, 1e-6);
}

static void unknown_prompts_are_refused_with_the_nearest_name(void)
{
    static float rgb[3];
    char slip[128];
    const char *name = at_truth_names(truth)->items[3].caption;
    snprintf(slip, sizeof(slip), "%sx", name);
    AT_CHECK(isnan(score(&at_reward_fidelity, slip, rgb, 1, 1)) && capture_says(&capture, name));
    AT_CHECK(isnan(score(&at_reward_taste, "a photo of my cat", rgb, 1, 1)) && capture_says(&capture, "my cat"));
    AT_CHECK_INT(at_truth_rank(capture_start(&capture), truth, "", rgb, 1, 1), 0);
    struct at_truth *kept = truth;
    truth = NULL;
    AT_CHECK(isnan(score(&at_reward_fidelity, name, rgb, 1, 1)) && capture.log.error == AT_ERROR_FAILED);
    truth = kept;
    AT_CHECK(isnan(score(&at_reward_saturation, name, rgb, 0, 1)) && capture_says(&capture, "0 x 1"));
}

static void saturation_leaves_the_background_out(void)
{
    static const float rgb[] = {1, 1, 1, 0.9f, 0.85f, 1, 0.9f, 0.1f, 0.5f, 0.3f, 0.3f, 0.5f};
    AT_CHECK_NEAR(score(&at_reward_saturation, "", rgb, 2, 2), (0.8 + 0.2) / 2, 1e-6);
    AT_CHECK_NEAR(score(&at_reward_saturation, "", rgb, 2, 1), 0, 0); // nothing but background
    AT_CHECK_NEAR(score(&at_reward_saturation, "", rgb + 6, 1, 1), 0.8, 1e-6);
}

static void taste_is_the_sum_in_its_units(void)
{
    static float rgb[32 * 32 * 3];
    const struct at_emoji *item = &at_truth_names(truth)->items[7];
    AT_CHECK(at_emoji_draw(NULL, item, &at_emoji_truth, 32, rgb));
    double f = score(&at_reward_fidelity, item->caption, rgb, 32, 32);
    double s = score(&at_reward_saturation, item->caption, rgb, 32, 32);
    AT_CHECK_NEAR(score(&at_reward_taste, item->caption, rgb, 32, 32), f / AT_TASTE_FIDELITY + s / AT_TASTE_SATURATION,
                  1e-12);
}

static void rewards_are_found_by_name(void)
{
    for (size_t i = 0; at_rewards[i]; i++)
        AT_CHECK(at_reward_find(NULL, at_rewards[i]->name) == at_rewards[i] && *at_rewards[i]->about);
    AT_CHECK(!at_reward_find(capture_start(&capture), "beauty"));
    AT_CHECK(capture.log.error == AT_ERROR_USAGE && strstr(capture.text, "fidelity, saturation, taste"));
}

int main(void)
{
    AT_RUN(reduction_is_the_mean_of_each_cell);
    AT_RUN(errors_are_in_units_of_minus_one_to_one);
    AT_RUN(saturation_leaves_the_background_out);
    AT_RUN(rewards_are_found_by_name);
    truth = at_truth_open(NULL, NULL);
    if (!truth) {
        printf("no emoji font or table: the rest is skipped\n");
        return at_test_failures ? 1 : AT_SKIP;
    }
    AT_RUN(the_true_picture_scores_best);
    AT_RUN(fidelity_is_minus_the_error);
    AT_RUN(unknown_prompts_are_refused_with_the_nearest_name);
    AT_RUN(taste_is_the_sum_in_its_units);
    at_truth_close(&truth);
    return at_test_end();
}
