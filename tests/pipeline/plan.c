// SPDX-License-Identifier: Apache-2.0
// Forecasts and memory limits: a job tried on a dry device allocates what it then allocates, and a job that is made to fit
// fits, and learns the same.
#include "core/graph/dry.h"
#include "core/vulkan/executor.h"
#include "core/vulkan/memory.h"
#include "tests/harness.h"
#include "tests/pipeline/pipes.h"
#include "tests/unit/capture.h"

#include "pipelines/sample/sample.h"

#include <math.h>
#include <string.h>

static struct at_log quiet = {.level = AT_LEVEL_ERROR};
static struct at_device *dev;

// Trains on `on`, or only tries if forecast is not NULL.
static bool dpo(struct at_device *on, const char *run, bool full, size_t limit, struct at_forecast *forecast)
{
    struct at_train_dpo_params p = tiny_dpo(run, 2);
    p.full = full;
    p.train.batch = 4;
    p.train.memory_limit = limit;
    p.train.forecast = forecast;
    p.held_out = 0.3;
    return at_train_dpo(on, &p, &quiet);
}

static bool lora(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    return dpo(on, run, false, 0, forecast);
}

static bool full(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    return dpo(on, run, true, 0, forecast);
}

static bool base(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    struct at_train_base_params p = {.train = tiny_train(run, 2), .model = tiny_path("model"),
                                     .data = {.imagefolder = tiny_path("pictures"), .size = TINY_SIDE}};
    p.train.optimizer.ema = 0.9;
    p.train.forecast = forecast;
    return at_train_base(on, &p, &quiet);
}

static bool vae(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    struct at_train_vae_params p = {.train = tiny_train(run, 2), .config = tiny_path("model"),
                                    .data = {.imagefolder = tiny_path("pictures"), .size = TINY_SIDE}};
    p.train.forecast = forecast;
    return at_train_vae(on, &p, &quiet);
}

// Five pictures, two at once: the last batch is short.
static bool sample(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    (void)run, (void)forecast;
    static const struct at_sample_item items[5] = {{"a", NULL, 1}, {"b", NULL, 2}, {"c", NULL, 3}, {"d", NULL, 4},
                                                   {"e", NULL, 5}};
    static float pixels[5 * TINY_SIDE * TINY_SIDE * 3];
    struct at_sample_params p = {.items = items, .count = 5, .steps = 2, .cfg = 3, .batch = 2};
    struct at_model *m = at_model_open(on, &(struct at_model_params){.path = tiny_path("model")}, &quiet);
    bool ok = m && at_sample(m, &p, pixels, NULL);
    at_model_destroy(&m);
    return ok;
}

// Pictures of 40x56 in tiles of 24: of four sizes.
static bool sample_tiles(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    (void)run, (void)forecast;
    static const struct at_sample_item items[3] = {{"a", NULL, 1}, {"b", NULL, 2}, {"c", NULL, 3}};
    static float pixels[3 * 40 * 56 * 3];
    struct at_sample_params p = {.items = items, .count = 3, .steps = 2, .cfg = 3, .batch = 2, .width = 56, .height = 40,
                                 .vae_tile = 24};
    struct at_model *m = at_model_open(on, &(struct at_model_params){.path = tiny_path("model")}, &quiet);
    bool ok = m && at_sample(m, &p, pixels, NULL);
    at_model_destroy(&m);
    return ok;
}

// SDXL: texts of two encoders, and sizes.
static bool lora_xl(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    struct at_train_dpo_params p = tiny_dpo(run, 2);
    p.model = pipes_path("xl");
    p.size = TINY_SIDE / 2;
    p.train.forecast = forecast;
    return at_train_dpo(on, &p, &quiet);
}

static bool text_xl(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    struct at_train_dpo_params p = tiny_dpo(run, 2);
    p.model = pipes_path("xl");
    p.size = TINY_SIDE / 2;
    p.lora.text = true;
    p.train.forecast = forecast;
    return at_train_dpo(on, &p, &quiet);
}

static bool base_xl(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    struct at_train_base_params p = {.train = tiny_train(run, 2), .model = pipes_path("xl"),
                                     .data = {.imagefolder = tiny_path("pictures"), .size = TINY_SIDE / 2}};
    p.train.forecast = forecast;
    return at_train_base(on, &p, &quiet);
}

// Captions are encoded before, and the text encoders go.
static bool base_lora(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    struct at_train_base_params p = {.train = tiny_train(run, 2), .model = pipes_path("xl"), .adapter = true,
                                     .data = {.imagefolder = tiny_path("pictures"), .size = TINY_SIDE / 2}};
    p.train.forecast = forecast;
    return at_train_base(on, &p, &quiet);
}

static bool base_text(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    struct at_train_base_params p = {.train = tiny_train(run, 2), .model = pipes_path("xl"), .adapter = true,
                                     .lora = {.text = true},
                                     .data = {.imagefolder = tiny_path("pictures"), .size = TINY_SIDE / 2}};
    p.train.forecast = forecast;
    return at_train_base(on, &p, &quiet);
}

static bool sample_xl(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    (void)run, (void)forecast;
    static const struct at_sample_item items[3] = {{"a", NULL, 1}, {"b", NULL, 2}, {"c", NULL, 3}};
    static float pixels[3 * TINY_SIDE * TINY_SIDE * 3];
    struct at_sample_params p = {.items = items, .count = 3, .steps = 2, .cfg = 3, .batch = 2, .clip_skip = 1};
    struct at_model *m = at_model_open(on, &(struct at_model_params){.path = pipes_path("xl")}, &quiet);
    bool ok = m && at_sample(m, &p, pixels, NULL);
    at_model_destroy(&m);
    return ok;
}

static bool lora_tiles(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    struct at_train_dpo_params p = tiny_dpo(run, 2);
    p.train.vae_tile = 16;
    p.train.forecast = forecast;
    return at_train_dpo(on, &p, &quiet);
}

static void forecast_is_exact(const char *what, bool (*job)(struct at_device *, const char *, struct at_forecast *))
{
    char run[64];
    snprintf(run, sizeof(run), "%s-%s", what, dev->kind);
    struct at_forecast f = {0};
    struct at_device *dry = at_dry_open(dev, &quiet);
    dev->peak = dev->allocated;
    AT_CHECK(dry && job(dry, scratch_path(run), &f));
    AT_CHECK(!at_dir_exists(scratch_path(run))); // nothing was written
    AT_CHECK(job(dev, scratch_path(run), NULL));
    AT_CHECK(dry->peak > 0 && at_dry_flops(dry) > 0);
    AT_CHECK_INT(dry->peak, dev->peak);
    size_t sum = 0;
    for (int i = 0; i < AT_USE_HOST; i++)
        sum += dry->peak_used[i];
    AT_CHECK_INT(dry->peak_used[AT_USE_HOST], dev->peak_used[AT_USE_HOST]);
    AT_CHECK_INT(sum, dry->peak);
    AT_CHECK_INT(dry->allocated, 0);
    at_device_close(&dry);
}

static void forecasts_are_exact(void)
{
    forecast_is_exact("lora", lora);
    forecast_is_exact("full", full);
    forecast_is_exact("base", base);
    forecast_is_exact("vae", vae);
    forecast_is_exact("sample", sample);
    forecast_is_exact("sample-tiles", sample_tiles);
    forecast_is_exact("lora-tiles", lora_tiles);
    forecast_is_exact("lora_xl", lora_xl);
    forecast_is_exact("text_xl", text_xl);
    forecast_is_exact("base_xl", base_xl);
    if (strcmp(dev->kind, "cpu") == 0) { // for a GPU they hold nothing that the others do not
        forecast_is_exact("base_lora", base_lora);
        forecast_is_exact("base_text", base_text);
    }
    forecast_is_exact("sample_xl", sample_xl);
}

// Weights in the host's memory: less of the device's, counted as exactly, and the same is learnt.
static void offloaded_jobs_are_the_same(void)
{
    struct at_forecast f;
    struct at_device *dry = at_dry_open(dev, &quiet);
    AT_CHECK(dry && lora(dry, "none", &f));
    dev->offload = true;
    forecast_is_exact("sample", sample);
    forecast_is_exact("offload", lora);
    dev->offload = false;
    AT_CHECK(dry && dev->peak < dry->peak && dev->peak_used[AT_USE_HOST] > 0);
    at_device_close(&dry);
    for (int step = 1; step <= 2; step++)
        AT_CHECK(tiny_metric(scratch_path("offload-vulkan"), step, "loss") ==
                 tiny_metric(scratch_path("lora-vulkan"), step, "loss"));
}

// Activations in halves: forecasts hold, less memory is taken, and little else changes. DPO of all weights refuses them.
static void halves_learn_the_same(void)
{
    size_t whole = 0;
    for (int halves = 0; halves < 2; halves++) {
        dev->activations = halves ? AT_F16 : AT_F32;
        forecast_is_exact(halves ? "base-f16" : "base-f32", base);
        printf("%s: %zu bytes of tensors\n", halves ? "f16" : "f32", dev->peak_used[AT_USE_TENSORS]);
        AT_CHECK(!halves || dev->peak_used[AT_USE_TENSORS] < whole);
        whole = dev->peak_used[AT_USE_TENSORS];
    }
    forecast_is_exact("sample-f16", sample);
    forecast_is_exact("lora-f16", lora);
    AT_CHECK(!full(dev, scratch_path("refused"), NULL) && !at_dir_exists(scratch_path("refused")));
    AT_CHECK_INT(quiet.error, AT_ERROR_USAGE);
    quiet.error = AT_ERROR_NONE;
    dev->activations = AT_F32;
    for (int step = 1; step <= 2; step++) {
        double loss[2], norm[2];
        for (int i = 0; i < 2; i++) {
            const char *run = i ? "base-f16-vulkan" : "base-f32-vulkan";
            loss[i] = tiny_metric(scratch_path(run), step, "loss");
            norm[i] = tiny_metric(scratch_path(run), step, "grad_norm");
        }
        printf("step %d: loss %.6f, in halves %.6f; gradient %.6f, in halves %.6f\n", step, loss[0], loss[1], norm[0],
               norm[1]);
        AT_CHECK_NEAR(loss[1] / loss[0], 1, 1e-2);
        AT_CHECK_NEAR(norm[1] / norm[0], 1, 1e-2);
    }
}

// What Vulkan itself counts, alignment included.
static void the_driver_agrees(void)
{
    double counted = (double)at_vk_memory_usage(at_vulkan_device(dev)).device_peak, said = 0;
    bool (*const jobs[])(struct at_device *, const char *, struct at_forecast *) = {lora, full, base, vae, sample, sample_tiles, lora_tiles};
    for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++) {
        struct at_forecast f;
        struct at_device *dry = at_dry_open(dev, &quiet);
        AT_CHECK(dry && jobs[i](dry, "none", &f));
        said = fmax(said, dry ? (double)dry->peak : 0);
        at_device_close(&dry);
    }
    AT_CHECK_NEAR(said / counted, 1, 0.02);
}

// The same training in less and less memory, down to where it is refused.
static void limits_are_kept(void)
{
    struct at_forecast f;
    struct at_device *dry = at_dry_open(dev, &quiet);
    AT_CHECK(dry && dpo(dry, "none", false, 0, &f));
    size_t whole = dry->peak, least = whole;
    at_device_close(&dry);
    AT_CHECK(dpo(dev, scratch_path("whole"), false, 0, NULL));
    int kept = 0;
    for (int percent = 90; percent > 5; percent -= 20) {
        size_t limit = whole * (size_t)percent / 100;
        char name[32];
        snprintf(name, sizeof(name), "limit-%d", percent);
        dev->peak = dev->allocated;
        quiet.error = AT_ERROR_NONE;
        if (!dpo(dev, scratch_path(name), false, limit, NULL)) {
            AT_CHECK_INT(quiet.error, AT_ERROR_DEVICE);
            AT_CHECK_INT(dev->peak, dev->allocated); // it was not tried
            break;
        }
        AT_CHECK(dev->peak <= limit);
        least = dev->peak;
        kept++;
        for (int step = 1; step <= 2; step++)
            AT_CHECK_NEAR(tiny_metric(scratch_path(name), step, "loss") / tiny_metric(scratch_path("whole"), step, "loss"),
                          1, 1e-4);
        AT_CHECK_NEAR(tiny_metric(scratch_path(name), 1, "grad_norm") /
                          tiny_metric(scratch_path("whole"), 1, "grad_norm"), 1, 1e-3);
    }
    AT_CHECK(kept >= 2 && least < whole);
    quiet.error = AT_ERROR_NONE;
}

// Blocks computed again: a batch that cannot be cut leaves nothing else.
static void blocks_are_computed_again(void)
{
    size_t peak[2];
    double norm[2];
    for (int again = 0; again < 2; again++) {
        char name[32];
        snprintf(name, sizeof(name), "again-%d", again);
        struct at_train_dpo_params p = tiny_dpo(scratch_path(name), 1);
        p.train.batch = 1;
        p.train.memory_limit = again ? peak[0] - peak[0] / 50 : 0;
        dev->peak = dev->allocated;
        AT_CHECK(at_train_dpo(dev, &p, &quiet));
        peak[again] = dev->peak;
        norm[again] = tiny_metric(scratch_path(name), 1, "grad_norm");
    }
    AT_CHECK(peak[1] < peak[0]);
    AT_CHECK_NEAR(norm[1] / norm[0], 1, 1e-4);
}

static struct {
    size_t limit;
    bool apart; // the two pictures of a pair
} chosen;

static void listen(void *priv, enum at_level level, const char *text)
{
    (void)priv, (void)level;
    chosen.apart = chosen.apart || strstr(text, "one after the other");
}

static bool pair(struct at_device *on, const char *run, struct at_forecast *forecast)
{
    struct at_log log = {.level = AT_LEVEL_INFO, .write = listen};
    struct at_train_dpo_params p = tiny_dpo(run, 2);
    p.train.batch = 1;
    p.train.memory_limit = chosen.limit;
    p.train.forecast = forecast;
    chosen.apart = false;
    return at_train_dpo(on, &p, &log);
}

// The largest limit, in tenths of what a pair takes, under which its pictures are taken one after the other.
static void find_limit(void)
{
    struct at_forecast f;
    struct at_device *dry = at_dry_open(dev, &quiet);
    chosen.limit = 0;
    AT_CHECK(dry && pair(dry, "none", &f));
    size_t whole = dry->peak;
    for (int i = 9; i > 0 && !chosen.apart; i--) {
        chosen.limit = whole * (size_t)i / 10;
        if (!pair(dry, "none", &f))
            break;
    }
    AT_CHECK(chosen.apart);
    at_device_close(&dry);
}

// One picture of a pair after the other: less memory, as forecast, and the same is learnt, also when it is stopped.
static void pairs_are_taken_apart(void)
{
    forecast_is_exact("together", pair);
    find_limit();
    forecast_is_exact("apart", pair);
    AT_CHECK(chosen.apart && dev->peak <= chosen.limit);
    char runs[2][256];
    for (int i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%s-%s", i ? "apart" : "together", dev->kind);
        snprintf(runs[i], sizeof(runs[i]), "%s", scratch_path(name));
    }
    for (int step = 1; step <= 2; step++) {
        AT_CHECK_NEAR(tiny_metric(runs[1], step, "policy_win") / tiny_metric(runs[0], step, "policy_win"), 1, 1e-5);
        AT_CHECK_NEAR(tiny_metric(runs[1], step, "grad_norm") / tiny_metric(runs[0], step, "grad_norm"), 1, 1e-4);
    }
    char a[320], b[320];
    struct at_train_dpo_params p = tiny_dpo(scratch_path("stopped"), 1);
    p.train.batch = 1;
    p.train.memory_limit = chosen.limit;
    AT_CHECK(at_train_dpo(dev, &p, &quiet));
    p.train.steps = 2;
    p.train.resume = true;
    AT_CHECK(at_train_dpo(dev, &p, &quiet));
    snprintf(a, sizeof(a), "%s/checkpoint-000002/state.safetensors", runs[1]);
    snprintf(b, sizeof(b), "%s/checkpoint-000002/state.safetensors", p.train.run);
    AT_CHECK(tiny_same_files(a, b));
}

static void sampling_keeps_a_limit(void)
{
    static const struct at_sample_item items[4] = {{"a", NULL, 1}, {"b", NULL, 2}, {"c", NULL, 3}, {"d", NULL, 4}};
    static float pixels[2][4 * TINY_SIDE * TINY_SIDE * 3], again[4 * TINY_SIDE * TINY_SIDE * 3];
    struct at_sample_params p = {.items = items, .count = 4, .steps = 2, .cfg = 3};
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = tiny_path("model")}, &quiet);
    size_t peak[2] = {0};
    for (int limited = 0; m && limited < 2; limited++) {
        p.memory_limit = limited ? peak[0] - peak[0] / 20 : 0;
        dev->peak = dev->allocated;
        AT_CHECK(at_sample(m, &p, pixels[limited], NULL));
        peak[limited] = dev->peak;
        // What the first call left compiled does not count against the second.
        AT_CHECK(at_sample(m, &p, again, NULL) && memcmp(again, pixels[limited], sizeof(again)) == 0);
        AT_CHECK_INT(dev->peak, peak[limited]);
        at_model_destroy(&m);
        m = at_model_open(dev, &(struct at_model_params){.path = tiny_path("model")}, &quiet);
    }
    AT_CHECK(peak[1] < peak[0] && peak[1] <= peak[0] - peak[0] / 20);
    for (size_t i = 0; i < sizeof(pixels[0]) / sizeof(float); i++)
        AT_CHECK_NEAR(pixels[0][i], pixels[1][i], 1e-4);
    p.memory_limit = 1000;
    AT_CHECK(m && !at_sample(m, &p, pixels[0], NULL));
    AT_CHECK_INT(quiet.error, AT_ERROR_DEVICE);
    quiet.error = AT_ERROR_NONE;
    at_model_destroy(&m);
}

int main(int argc, char **argv)
{
    bool vulkan = argc > 1 && strcmp(argv[1], "--vulkan") == 0;
    quiet.write = at_log_drop;
    dev = vulkan ? at_vulkan_open(&(struct at_vulkan_params){0}, &quiet) : tiny_device(&quiet, 2);
    if (!dev)
        return AT_SKIP;
    scratch_make();
    AT_RUN(forecasts_are_exact);
    if (vulkan) {
        AT_RUN(halves_learn_the_same);
        AT_RUN(pairs_are_taken_apart);
        AT_RUN(offloaded_jobs_are_the_same);
        AT_RUN(the_driver_agrees);
    } else {
        AT_RUN(limits_are_kept);
        AT_RUN(blocks_are_computed_again);
        AT_RUN(pairs_are_taken_apart);
        AT_RUN(sampling_keeps_a_limit);
    }
    tiny_close(&dev);
    scratch_remove();
    return at_test_end();
}
