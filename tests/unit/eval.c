// SPDX-License-Identifier: Apache-2.0
// Comparisons, CSV and pairs, on scores and pictures made by hand; no model.
#include "pipelines/eval/compare.h"
#include "pipelines/eval/eval.h"
#include "pipelines/eval/make_pairs.h"

#include "datasets/pairs.h"
#include "tests/unit/capture.h"

static struct capture capture;

static void wins_losses_and_ties_are_counted_for_b(void)
{
    static const double a[] = {0, 0, 0, 0, 1, 5}, b[] = {1, 1, -1, 0.001, 1, 4};
    struct at_comparison c;
    AT_CHECK(at_compare(a, b, &(struct at_compare_params){.prompts = 3, .seeds = 2, .tolerance = 0.01}, &c, NULL));
    AT_CHECK_INT(c.wins, 2);
    AT_CHECK_INT(c.losses, 2);
    AT_CHECK_INT(c.ties, 2);
    AT_CHECK_NEAR(c.win_rate.value, 0.5, 1e-12);
    AT_CHECK_NEAR(c.mean_a, 1, 1e-12);
    AT_CHECK_NEAR(c.mean_b, 6.001 / 6, 1e-12);
    AT_CHECK_NEAR(c.difference.value, 0.001 / 6, 1e-12);
    AT_CHECK(c.difference.low <= c.difference.value && c.difference.value <= c.difference.high);
    AT_CHECK(at_compare(b, a, &(struct at_compare_params){.prompts = 6, .seeds = 1}, &c, NULL));
    AT_CHECK_INT(c.wins, 2);
    AT_CHECK_INT(c.losses, 3);
    AT_CHECK_INT(c.ties, 1);
}

// Ten times the seeds of the same prompts, all alike, must not make the interval narrower.
static void the_interval_counts_prompts(void)
{
    static double a[1000], b[1000];
    struct at_comparison few, many;
    for (int i = 0; i < 1000; i++)
        b[i] = i / 10 % 10 < 7 ? 1 : -1; // 100 prompts x 10 seeds, 70 of 100 prompts win
    AT_CHECK(at_compare(a, b, &(struct at_compare_params){.prompts = 100, .seeds = 10}, &many, NULL));
    for (int i = 0; i < 100; i++)
        b[i] = i % 10 < 7 ? 1 : -1;
    AT_CHECK(at_compare(a, b, &(struct at_compare_params){.prompts = 100, .seeds = 1}, &few, NULL));
    struct at_interval known = at_wilson_wins(70, 0, 30, 0.95);
    AT_CHECK_NEAR(many.win_rate.low, known.low, 1e-12);
    AT_CHECK_NEAR(few.win_rate.low, known.low, 1e-12);
    AT_CHECK_NEAR(many.win_rate.high, known.high, 1e-12);
    AT_CHECK_NEAR(many.units, 100, 1e-6);
    AT_CHECK_NEAR(many.difference.low, few.difference.low, 1e-12);
    AT_CHECK_NEAR(many.win_bootstrap.low, known.low, 0.03);
}

static void bad_scores_are_refused(void)
{
    static const double a[] = {0, NAN, 0}, b[] = {0, 0, 0};
    struct at_comparison c;
    struct at_compare_params p = {.prompts = 1, .seeds = 3};
    AT_CHECK(!at_compare(a, b, &p, &c, capture_start(&capture)) && capture_says(&capture, "prompt 1, seed 2"));
    p.prompts = 0;
    AT_CHECK(!at_compare(b, b, &p, &c, capture_start(&capture)) && capture.log.error == AT_ERROR_USAGE);
    p = (struct at_compare_params){.prompts = 3, .seeds = 1, .tolerance = -1};
    AT_CHECK(!at_compare(b, b, &p, &c, capture_start(&capture)) && strstr(capture.text, "tolerance"));
}

static bool compare_once(void)
{
    static const double a[] = {0, 1, 2, 3}, b[] = {1, 1, 1, 1};
    struct at_comparison c;
    return at_compare(a, b, &(struct at_compare_params){.prompts = 2, .seeds = 2, .rounds = 10}, &c, NULL);
}

static void comparing_survives_a_lack_of_memory(void)
{
    fail_each_allocation(compare_once);
}

static const char *const prompts[] = {"plain", "with, comma and \"quotes\""};
static const struct at_reward *const rewards[] = {&at_reward_saturation};
static const struct at_eval_params eval = {
    .prompts = prompts, .prompt_count = 2, .seeds = 4, .first_seed = 10, .rewards = rewards, .reward_count = 1};

// 2 prompts x 4 seeds of 2 x 2 pixels, all different.
static struct at_drawings make_drawings(void)
{
    static const double scores[] = {0.1, 0.4, 0.5, 0.2, 0.3, 0.3, 0.9, 0.8};
    struct at_drawings d = {.prompts = 2, .seeds = 4, .rewards = 1, .width = 2, .height = 2};
    d.scores = at_calloc(8, sizeof(*d.scores));
    d.pixels = at_calloc(8, 12);
    memcpy(d.scores, scores, sizeof(scores));
    for (int i = 0; i < 8 * 12; i++)
        d.pixels[i] = (uint8_t)(i * 2);
    return d;
}

static void csv_has_a_row_an_image_and_quotes_text(void)
{
    struct at_drawings d = make_drawings();
    const char *path = scratch_path("scores.csv");
    AT_CHECK(at_eval_csv(path, &eval, (const char *const[]){"base", "tuned"},
                         (const struct at_drawings *const[]){&d, &d}, 2, NULL));
    uint8_t *text = NULL;
    size_t size;
    AT_CHECK(at_file_read(NULL, path, 4096, &text, &size));
    AT_CHECK(strncmp((char *)text, "prompt,seed,reward,base,tuned\nplain,10,saturation,0.1,0.1\n", 58) == 0);
    AT_CHECK(strstr((char *)text, "\n\"with, comma and \"\"quotes\"\"\",17,saturation,0.8,0.8\n"));
    int lines = 0;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    AT_CHECK_INT(lines, 9);
    at_free(text);
    at_drawings_finish(&d);
}

static void neighbours_make_pairs_and_ties_make_none(void)
{
    struct at_drawings d = make_drawings();
    char out[256];
    snprintf(out, sizeof(out), "%s", scratch_path("pairs"));
    struct at_make_pairs_params p = {.out = out};
    struct at_make_pairs_result r;
    AT_CHECK(at_make_pairs_write(&p, &eval, &d, &r, NULL));
    AT_CHECK_INT(r.pairs, 3);
    AT_CHECK_INT(r.ties, 1);
    AT_CHECK_INT(r.pictures, 6);
    struct at_pairs pairs;
    AT_CHECK(at_pairs_read(NULL, out, &(struct at_pairs_params){0}, &pairs));
    AT_CHECK_INT(pairs.count, 3);
    AT_CHECK_STR(pairs.items[0].prompt, "plain");
    AT_CHECK(strstr(pairs.items[0].win, "0000-1.png") && strstr(pairs.items[0].lose, "0000-0.png"));
    AT_CHECK(strstr(pairs.items[1].win, "0000-2.png") && strstr(pairs.items[1].lose, "0000-3.png"));
    AT_CHECK_STR(pairs.items[2].prompt, prompts[1]);
    struct at_image win = {0}, lose = {0};
    AT_CHECK(at_pair_load(NULL, &pairs.items[0], 2, &win, &lose));
    AT_CHECK(memcmp(win.pixels, d.pixels + 12, 12) == 0 && memcmp(lose.pixels, d.pixels, 12) == 0);
    at_image_finish(&win);
    at_image_finish(&lose);
    at_pairs_finish(&pairs);
    AT_CHECK(!at_make_pairs_write(&p, &eval, &d, &r, capture_start(&capture)) && capture_says(&capture, "not empty"));
    at_drawings_finish(&d);
}

static void extremes_pair_best_and_worst(void)
{
    struct at_drawings d = make_drawings();
    char out[256];
    snprintf(out, sizeof(out), "%s", scratch_path("extremes"));
    struct at_make_pairs_params p = {.out = out, .pairing = AT_PAIRING_EXTREMES};
    struct at_make_pairs_result r;
    AT_CHECK(at_make_pairs_write(&p, &eval, &d, &r, NULL));
    AT_CHECK_INT(r.pairs, 2);
    struct at_pairs pairs;
    AT_CHECK(at_pairs_read(NULL, out, &(struct at_pairs_params){0}, &pairs));
    AT_CHECK(strstr(pairs.items[0].win, "0000-2.png") && strstr(pairs.items[0].lose, "0000-0.png"));
    AT_CHECK(strstr(pairs.items[1].win, "0001-2.png") && strstr(pairs.items[1].lose, "0001-0.png"));
    at_pairs_finish(&pairs);
    p.out = scratch_path("none");
    p.tolerance = 10;
    AT_CHECK(!at_make_pairs_write(&p, &eval, &d, &r, capture_start(&capture)) && capture_says(&capture, "ties"));
    AT_CHECK(!at_dir_exists(p.out));
    at_drawings_finish(&d);
}

static void every_image_has_noise_of_its_own(void)
{
    AT_CHECK_INT(at_eval_seed(&eval, 0, 3), 13);
    AT_CHECK_INT(at_eval_seed(&eval, 1, 0), 14);
}

int main(void)
{
    scratch_make();
    AT_RUN(wins_losses_and_ties_are_counted_for_b);
    AT_RUN(the_interval_counts_prompts);
    AT_RUN(bad_scores_are_refused);
    AT_RUN(comparing_survives_a_lack_of_memory);
    AT_RUN(csv_has_a_row_an_image_and_quotes_text);
    AT_RUN(neighbours_make_pairs_and_ties_make_none);
    AT_RUN(extremes_pair_best_and_worst);
    AT_RUN(every_image_has_noise_of_its_own);
    scratch_remove();
    return at_test_end();
}
