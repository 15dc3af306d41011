// SPDX-License-Identifier: Apache-2.0
// The shipped preference pairs: every label follows from the pictures by the rule that make.json names, no held-out
// name is among them, and they stay small.
#include "pipelines/rewards/reward.h"
#include "tests/unit/capture.h"

#include "core/base/alloc.h"
#include "core/io/image.h"
#include "core/io/json.h"
#include "datasets/pairs.h"

#include <sys/stat.h>

static struct at_truth *truth;

static double rescore(const struct at_reward *rule, const char *prompt, const char *path)
{
    struct at_image image = {0};
    double score = NAN;
    if (!at_image_read(NULL, path, 3, &image))
        return score;
    size_t n = (size_t)image.width * (size_t)image.height * 3;
    float *rgb = at_calloc(n, sizeof(*rgb));
    for (size_t i = 0; rgb && i < n; i++)
        rgb[i] = (float)image.pixels[i] / 255.0f;
    struct at_picture picture = {prompt, rgb, image.width, image.height};
    if (!rgb || !at_reward_score(NULL, rule, truth, &picture, &score))
        score = NAN;
    at_free(rgb);
    at_image_finish(&image);
    return score;
}

static double size_of(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 ? (double)s.st_size : NAN;
}

static void labels_follow_from_the_rule(const char *dir)
{
    struct at_pairs pairs = {0};
    char path[512];
    const char *name = "";
    snprintf(path, sizeof(path), "%s/make.json", dir);
    struct at_json_doc *doc = at_json_load(NULL, path);
    AT_CHECK(doc && at_json_str(at_json_root(doc), "rule", "", &name));
    const struct at_reward *rule = at_reward_find(NULL, name);
    AT_CHECK(rule && at_pairs_read(NULL, dir, &(struct at_pairs_params){0}, &pairs));
    AT_CHECK(pairs.count >= 100);
    double bytes = 0;
    for (size_t i = 0; rule && i < pairs.count; i++) {
        const struct at_pair *p = &pairs.items[i];
        if (!AT_CHECK(rescore(rule, p->prompt, p->win) > rescore(rule, p->prompt, p->lose)))
            printf("line %zu: \"%s\"\n", p->line, p->prompt);
        AT_CHECK(!at_emoji_held_out(p->prompt));
        bytes += size_of(p->win) + size_of(p->lose); // a picture of two pairs counts twice
    }
    AT_CHECK(bytes > 0 && bytes < 8e6);
    at_pairs_finish(&pairs);
    at_json_destroy(&doc);
}

int main(void)
{
    const char *dir = getenv("AT_TEST_PAIRS");
    truth = at_truth_open(NULL, NULL);
    if (!dir || !at_dir_exists(dir) || !truth)
        return AT_SKIP;
    at_test_name = "labels_follow_from_the_rule";
    labels_follow_from_the_rule(dir);
    at_truth_close(&truth);
    return at_test_end();
}
