// SPDX-License-Identifier: Apache-2.0
// Made pairs, evaluation and the demo from end to end, with the tiny model.
#include "pipelines/demo/demo.h"
#include "pipelines/eval/eval.h"
#include "pipelines/eval/make_pairs.h"
#include "tests/pipeline/tiny.h"

#include "core/io/json.h"
#include "datasets/pairs.h"

static struct capture capture;
static struct at_device *dev;

static char model[512], made[256]; // paths; those of scratch_path and tiny_path last only for a few calls

static struct at_make_pairs_params making(const char *out)
{
    return (struct at_make_pairs_params){
        .model = model, .out = out, .names = 6, .seeds = 2, .steps = 2, .cfg = 2, .first_seed = 3};
}

static void pairs_are_a_function_of_model_and_seed(void)
{
    char again[256], other[256];
    snprintf(again, sizeof(again), "%s", scratch_path("again"));
    snprintf(other, sizeof(other), "%s", scratch_path("other"));
    struct at_make_pairs_params a = making(made), b = making(again), c = making(other);
    struct at_make_pairs_result r, first = {0};
    AT_CHECK(at_make_pairs(dev, &a, &first, capture_start(&capture)));
    AT_CHECK_INT(first.names, 6);
    AT_CHECK_INT(first.pairs + first.ties, 6);
    AT_CHECK(at_make_pairs(dev, &b, &r, capture_start(&capture)));
    AT_CHECK(tiny_same_files(scratch_path("pairs/pairs.jsonl"), scratch_path("again/pairs.jsonl")));
    AT_CHECK(tiny_same_files(scratch_path("pairs/images/0000-0.png"), scratch_path("again/images/0000-0.png")));
    c.first_seed = 4;
    AT_CHECK(at_make_pairs(dev, &c, &r, capture_start(&capture)));
    AT_CHECK(!tiny_same_files(scratch_path("pairs/images/0000-0.png"), scratch_path("other/images/0000-0.png")));
    struct at_pairs pairs;
    AT_CHECK(at_pairs_read(NULL, scratch_path("pairs"), &(struct at_pairs_params){0}, &pairs));
    AT_CHECK_INT(pairs.count, first.pairs);
    for (size_t i = 0; i < pairs.count; i++)
        AT_CHECK(!at_emoji_held_out(pairs.items[i].prompt));
    at_pairs_finish(&pairs);
    c.seeds = 1;
    AT_CHECK(!at_make_pairs(dev, &c, &r, capture_start(&capture)) && capture.log.error == AT_ERROR_USAGE);
}

static bool run_demo(const char *out, struct at_demo_result *r)
{
    struct at_demo_params p = {.out = out, .model = model, .pairs = made, .seed = 1, .prompts = 3,
                               .seeds = 2, .sample_steps = 2, .cfg = 2, .steps = 2, .batch = 2, .rank = 2,
                               .held_out = 0.3, .grid_rows = 2};
    return at_demo(dev, &p, r, capture_start(&capture));
}

static void numbers_are_in_the_report(const char *path, const struct at_demo_result *r)
{
    static const char *const keys[] = {
        "prompts",          "seeds",          "pairs",           "wins",          "losses",         "ties",
        "win_rate",         "ci_low",         "ci_high",         "control_win_rate", "control_ci_low", "control_ci_high",
        "fidelity_base",    "fidelity_tuned", "fidelity_control", "held_out_accuracy"};
    struct at_json_doc *doc = at_json_load(NULL, path);
    AT_CHECK(doc);
    struct at_json root = doc ? at_json_root(doc) : (struct at_json){0};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (!AT_CHECK(at_json_is_number(at_json_get(root, keys[i]))))
            printf("no number \"%s\"\n", keys[i]);
    double rate = -1;
    AT_CHECK(at_json_num(root, "win_rate", -1, &rate));
    AT_CHECK_NEAR(rate, r->win_rate, 0);
    AT_CHECK_INT(at_json_count(at_json_get(root, "prompt_list")), 3);
    at_json_destroy(&doc);
}

static void the_demo_leaves_what_it_says(void)
{
    struct at_demo_result r;
    char out[256];
    snprintf(out, sizeof(out), "%s", scratch_path("demo"));
    AT_CHECK(run_demo(out, &r));
    AT_CHECK_INT(r.prompts, 3);
    AT_CHECK_INT(r.wins + r.losses + r.ties, 6);
    AT_CHECK(r.ci_low <= r.win_rate && r.win_rate <= r.ci_high && r.fidelity_base < 0);
    static const char *const files[] = {"report.html", "grid-001.png", "scores.csv", "run-pairs/metrics.jsonl",
                                        "run-control/held_out.json",
                                        "run-pairs/pytorch_lora_weights.safetensors"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char *path = at_path_join(out, files[i]);
        AT_CHECK(path && at_file_exists(path));
        at_free(path);
    }
    numbers_are_in_the_report(scratch_path("demo/report.json"), &r);
    size_t size;
    char *page = tiny_text(scratch_path("demo/report.html"), &size);
    AT_CHECK(page && strstr(page, "Wilson") && !strstr(page, "http"));
    at_free(page);
}

static void equal_settings_give_equal_numbers(void)
{
    struct at_demo_result first = {0}, second = {0};
    char one[256], two[256];
    snprintf(one, sizeof(one), "%s", scratch_path("demo"));
    snprintf(two, sizeof(two), "%s", scratch_path("demo2"));
    AT_CHECK(run_demo(one, &first)); // over the earlier one
    AT_CHECK(run_demo(two, &second));
    AT_CHECK(tiny_same_files(scratch_path("demo/scores.csv"), scratch_path("demo2/scores.csv")));
    AT_CHECK_NEAR(first.fidelity_tuned, second.fidelity_tuned, 0);
    AT_CHECK(first.fidelity_tuned != first.fidelity_base && first.fidelity_tuned != first.fidelity_control);
}

static void a_model_ties_with_itself(void)
{
    static const char *const prompts[] = {"anything", "at all, really"};
    const struct at_reward *rewards[] = {&at_reward_saturation};
    struct at_eval_params p = {.prompts = prompts, .prompt_count = 2, .seeds = 2, .rewards = rewards,
                               .reward_count = 1, .steps = 2, .cfg = 2};
    char lora[256];
    snprintf(lora, sizeof(lora), "%s", scratch_path("demo/run-pairs/pytorch_lora_weights.safetensors"));
    struct at_eval_side a = {.label = "a", .model = model}, b = {.label = "b", .model = model};
    struct at_comparison c;
    char csv[256];
    snprintf(csv, sizeof(csv), "%s", scratch_path("eval.csv"));
    AT_CHECK(at_eval(dev, &a, &b, &p, csv, &c, capture_start(&capture)));
    AT_CHECK_INT(c.ties, 4);
    AT_CHECK_NEAR(c.difference.value, 0, 0);
    AT_CHECK(at_file_exists(csv));
    b.adapters[0] = (struct at_eval_adapter){lora, 1};
    b.adapter_count = 1;
    AT_CHECK(at_eval(dev, &a, &b, &p, NULL, &c, capture_start(&capture)));
    AT_CHECK(c.ties < 4 && c.difference.value != 0);
    b.adapters[1] = (struct at_eval_adapter){lora, -1}; // together they are nothing
    b.adapter_count = 2;
    AT_CHECK(at_eval(dev, &a, &b, &p, NULL, &c, capture_start(&capture)));
    AT_CHECK(fabs(c.difference.value) < 1e-3);
    rewards[0] = &at_reward_fidelity; // these prompts have no true picture
    AT_CHECK(!at_eval(dev, &a, &b, &p, NULL, &c, capture_start(&capture)) && capture_says(&capture, "anything"));
}

int main(void)
{
    struct at_truth *truth = at_truth_open(NULL, NULL);
    if (!truth)
        return AT_SKIP; // no emoji font or table
    at_truth_close(&truth);
    scratch_make();
    snprintf(model, sizeof(model), "%s", tiny_path("model"));
    snprintf(made, sizeof(made), "%s", scratch_path("pairs"));
    struct capture opening;
    dev = tiny_device(capture_start(&opening), 2);
    AT_RUN(pairs_are_a_function_of_model_and_seed);
    AT_RUN(the_demo_leaves_what_it_says);
    AT_RUN(equal_settings_give_equal_numbers);
    AT_RUN(a_model_ties_with_itself);
    at_device_close(&dev);
    scratch_remove();
    return at_test_end();
}
