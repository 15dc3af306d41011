// SPDX-License-Identifier: Apache-2.0
// Training SDXL in small: what it is told of each pair, an adapter and all weights by Diffusion-DPO, everything but the
// autoencoder from pictures. Argument: --cpu or --vulkan.
#include "core/vulkan/executor.h"
#include "pipelines/bench/bench_model.h"
#include "pipelines/model/text.h"
#include "pipelines/train/pair_set.h"
#include "tests/pipeline/pipes.h"

#define SIZE 16

static struct capture capture;
static struct at_device *dev;
static char model[256];

static struct at_train_dpo_params dpo(const char *run, int64_t steps)
{
    struct at_train_dpo_params p = tiny_dpo(run, steps);
    p.model = model;
    p.size = SIZE;
    p.held_out = 0.3;
    return p;
}

static bool train(const struct at_train_dpo_params *p)
{
    bool ok = at_train_dpo(dev, p, capture_start(&capture));
    if (!ok)
        printf("%s\n", capture.text);
    return ok;
}

// The first loss is ln 2 (the method checks it); running on, stopping and a cache change nothing.
static void an_adapter(void)
{
    char run[256], again[256], cache[256];
    snprintf(run, sizeof(run), "%s", scratch_path("lora"));
    snprintf(again, sizeof(again), "%s", scratch_path("again"));
    snprintf(cache, sizeof(cache), "%s", scratch_path("cache"));
    struct at_train_dpo_params p = dpo(run, 2);
    p.cache = cache;
    if (!AT_CHECK(train(&p)))
        return;
    AT_CHECK_NEAR(tiny_metric(run, 1, "margin"), 0, 0);
    AT_CHECK(fabs(tiny_metric(run, 2, "loss") - 0.6931) > 1e-5);
    p = dpo(again, 1);
    p.cache = cache; // read this time
    AT_CHECK(train(&p));
    p.train.steps = 2;
    p.train.resume = true;
    p.cache = NULL;
    AT_CHECK(train(&p));
    char a[320], b[320];
    snprintf(a, sizeof(a), "%s/pytorch_lora_weights.safetensors", run);
    snprintf(b, sizeof(b), "%s/pytorch_lora_weights.safetensors", again);
    AT_CHECK(tiny_same_files(a, b));
}

// Captions read with a layer less are others, and the cache knows; more layers than there are is a slip.
static void clip_skip(void)
{
    char cache[256];
    snprintf(cache, sizeof(cache), "%s", scratch_path("cache"));
    struct at_train_dpo_params p = dpo(scratch_path("skipped"), 2);
    p.cache = cache; // with texts that are not skipped
    p.clip_skip = 1;
    AT_CHECK(train(&p));
    AT_CHECK(fabs(tiny_metric(scratch_path("skipped"), 1, "policy_win") -
                  tiny_metric(scratch_path("lora"), 1, "policy_win")) > 1e-4);
    p = dpo(scratch_path("no"), 1);
    p.clip_skip = 3;
    AT_CHECK(!at_train_dpo(dev, &p, capture_start(&capture)));
    AT_CHECK_INT(capture.log.error, AT_ERROR_USAGE);
}

// What was saved is a whole model, which draws.
static void draws(const char *folder)
{
    static float pixels[SIZE * SIZE * 3];
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = folder}, capture_start(&capture));
    const struct at_sample_item item = {"a red ball", NULL, 1};
    struct at_sample_params p = {.items = &item, .count = 1, .steps = 2, .cfg = 5};
    if (!AT_CHECK(m && at_sample(m, &p, pixels, NULL)))
        printf("%s\n", capture.text);
    at_model_destroy(&m);
}

static void all_weights(void)
{
    struct at_train_dpo_params p = dpo(scratch_path("full"), 2);
    p.full = true;
    p.train.lr = 1e-5;
    AT_CHECK(train(&p));
    draws(scratch_path("full"));
}

static void from_pictures(void)
{
    struct at_train_base_params p = {.train = tiny_train(scratch_path("base"), 2), .model = model, .views = 1,
                                     .data = {.imagefolder = tiny_path("pictures"), .size = SIZE}};
    if (!AT_CHECK(at_train_base(dev, &p, capture_start(&capture))))
        printf("%s\n", capture.text);
    AT_CHECK(isfinite(tiny_metric(scratch_path("base"), 2, "loss")));
    draws(scratch_path("base"));
}

static void latent_consistency_models_are_refused(void)
{
    char path[256];
    pipes_folder("lcm_xl", path, sizeof(path));
    struct at_train_dpo_params p = dpo(scratch_path("no"), 1);
    p.model = path;
    AT_CHECK(!at_train_dpo(dev, &p, capture_start(&capture)));
    AT_CHECK(capture_says(&capture, "latent consistency model"));
    struct at_train_base_params base = {.train = tiny_train(scratch_path("no"), 1), .model = path, .views = 1,
                                        .data = {.imagefolder = tiny_path("pictures"), .size = SIZE}};
    AT_CHECK(!at_train_base(dev, &base, capture_start(&capture)));
    AT_CHECK(capture_says(&capture, "latent consistency model"));
    AT_CHECK(!at_dir_exists(scratch_path("no")));
}

static void write_picture(const char *name, int width, int height, int shade)
{
    struct at_image image;
    if (!AT_CHECK(at_image_init(NULL, &image, width, height, 3)))
        return;
    memset(image.pixels, shade, (size_t)(width * height * 3));
    AT_CHECK(at_png_write(NULL, scratch_path(name), &image, NULL, 0));
    at_image_finish(&image);
}

// Original height and width, then top and left of the cut: 40x20 becomes 32x16, cut at 8; 16x56 is cut at 20.
static void sizes_of_pairs(void)
{
    static const char rows[] = "{\"prompt\": \"a\", \"win\": \"1.png\", \"lose\": \"2.png\"}\n"
                               "{\"prompt\": \"b\", \"win\": \"3.png\", \"lose\": \"4.png\"}\n";
    write_picture("1.png", 40, 20, 10);
    write_picture("2.png", 40, 20, 20);
    write_picture("3.png", 16, 56, 30);
    write_picture("4.png", 16, 56, 40);
    AT_CHECK(at_file_replace(NULL, scratch_path("pairs.jsonl"), rows, strlen(rows)));
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = model}, capture_start(&capture));
    struct at_captions *captions = m ? at_captions_create(m, &(struct at_captions_params){.items = 1}) : NULL;
    struct at_pair_set_params p = {.path = scratch_path("pairs.jsonl"), .size = SIZE, .captions = captions};
    struct at_pair_set *s = captions ? at_pair_set_open(m, &p) : NULL;
    if (AT_CHECK(s && s->count == 2)) {
        static const float want[2][AT_SIZES] = {{20, 40, 0, 8, SIZE, SIZE}, {56, 16, 20, 0, SIZE, SIZE}};
        size_t text = at_text_floats(m);
        AT_CHECK_INT((long long)at_condition_floats(&m->unet, at_text_tokens(m)), (long long)text + AT_SIZES);
        for (int i = 0; i < 2; i++) {
            const void *row;
            at_captions_put(captions, 0, s->prompt[i], &s->sizes[i]);
            AT_CHECK_INT(at_captions_ports(captions, &row), 1);
            AT_CHECK_NEAR(tiny_distance(row, at_captions_row(captions, s->prompt[i]), text), 0, 0);
            AT_CHECK_NEAR(tiny_distance((const float *)row + text, want[i], AT_SIZES), 0, 0);
        }
    }
    at_captions_destroy(&captions);
    at_pair_set_close(&s);
    at_model_destroy(&m);
}

static bool take(void *priv, const struct at_bench_task *task)
{
    *(int *)priv += task->seconds > 0;
    return true;
}

static void benches(void)
{
    static const char *const names[] = {"xl", "lcm_xl"};
    for (int i = 0; i < 2; i++) {
        char path[256];
        int tasks = 0;
        pipes_folder(names[i], path, sizeof(path));
        struct at_bench_model_params p = {.model = path, .size = SIZE, .batch = 1, .seconds = 0.01, .take = take,
                                          .priv = &tasks};
        capture_start(&capture);
        AT_CHECK(at_bench_model(dev, &p));
        AT_CHECK_INT(tasks, 4);
    }
}

int main(int argc, char **argv)
{
    bool vulkan = argc > 1 && strcmp(argv[1], "--vulkan") == 0;
    static struct at_log quiet = {.level = AT_LEVEL_ERROR};
    scratch_make();
    dev = vulkan ? at_vulkan_open(&(struct at_vulkan_params){0}, &quiet) : tiny_device(&quiet, 2);
    if (!dev)
        return AT_SKIP;
    pipes_folder("xl", model, sizeof(model));
    AT_RUN(sizes_of_pairs);
    AT_RUN(an_adapter);
    AT_RUN(clip_skip);
    AT_RUN(all_weights);
    AT_RUN(from_pictures);
    AT_RUN(latent_consistency_models_are_refused);
    AT_RUN(benches);
    tiny_close(&dev);
    scratch_remove();
    return at_test_end();
}
