// SPDX-License-Identifier: Apache-2.0
// An autoencoder and a base model from random weights, on the tiny pictures: they learn, and what they save opens.
#include "tests/pipeline/tiny.h"

#include "core/base/rng.h"

static struct capture capture;
static struct at_device *dev;

static struct at_train_vae_params vae_job(const char *run, int64_t steps)
{
    struct at_train_vae_params p = {.train = tiny_train(run, steps), .config = tiny_path("model"),
                                    .data = {.imagefolder = tiny_path("pictures"), .size = TINY_SIDE}};
    p.train.batch = 4;
    p.train.lr = 3e-3;
    return p;
}

static struct at_train_base_params base_job(const char *run, const char *model, int64_t steps)
{
    struct at_train_base_params p = {.train = tiny_train(run, steps), .model = model,
                                     .caption_dropout = 0.1,
                                     .data = {.imagefolder = tiny_path("pictures"), .size = TINY_SIDE}};
    p.train.batch = 4;
    p.train.lr = 3e-3;
    return p;
}

// Mean of the loss over steps [from, from + 5).
static double mean_loss(const char *run, int from)
{
    double sum = 0;
    for (int i = 0; i < 5; i++)
        sum += tiny_metric(run, from + i, "loss") / 5;
    return sum;
}

static char vae_run[256], base_run[256];

static void an_autoencoder_learns(void)
{
    struct at_train_vae_params p = vae_job(vae_run, 30);
    if (!AT_CHECK(at_train_vae(dev, &p, capture_start(&capture)))) {
        printf("%s\n", capture.text);
        return;
    }
    printf("autoencoder: loss %.4f to %.4f\n", mean_loss(vae_run, 1), mean_loss(vae_run, 26));
    AT_CHECK(mean_loss(vae_run, 26) < 0.7 * mean_loss(vae_run, 1));
}

// Latents scaled by the saved factor have deviation 1.
static void its_latents_are_scaled(void)
{
    static float pixels[12 * TINY_SIDE * TINY_SIDE * 3];
    static float moments[12 * TINY_LATENT * TINY_LATENT * TINY_CHANNELS * 2];
    static float noise[TINY_LATENT * TINY_LATENT * TINY_CHANNELS], latent[TINY_LATENT * TINY_LATENT * TINY_CHANNELS];
    enum { N = TINY_LATENT * TINY_LATENT * TINY_CHANNELS };
    struct at_picture_source source = {.imagefolder = tiny_path("pictures"), .size = TINY_SIDE};
    struct at_pictures *pictures = at_pictures_open(&source, &capture.log);
    struct at_model_params mp = {.path = vae_run, .parts = AT_PART_VAE};
    struct at_model *m = at_model_open(dev, &mp, &capture.log);
    double sum = 0, squares = 0;
    if (AT_CHECK(m && pictures)) {
        for (uint64_t i = 0; i < 12; i++)
            AT_CHECK(at_pictures_draw(pictures, i, pixels + i * TINY_SIDE * TINY_SIDE * 3, NULL) != NULL);
        AT_CHECK(at_model_encode(m, pixels, 12, TINY_SIDE, TINY_SIDE, moments));
        for (uint64_t i = 0; i < 12; i++) {
            at_rng_normal(noise, N, 77, AT_STREAM_MAKE, i);
            at_model_latent(m, moments + i * 2 * N, noise, TINY_LATENT * TINY_LATENT, latent);
            for (int k = 0; k < N; k++) {
                sum += (double)latent[k];
                squares += (double)latent[k] * (double)latent[k];
            }
        }
        double mean = sum / (12.0 * N);
        AT_CHECK_NEAR(sqrt(squares / (12.0 * N) - mean * mean), 1, 0.03);
    }
    at_model_destroy(&m);
    at_pictures_close(&pictures);
}

static void a_base_model_learns(void)
{
    struct at_train_base_params p = base_job(base_run, vae_run, 30);
    if (!AT_CHECK(at_train_base(dev, &p, capture_start(&capture)))) {
        printf("%s\n", capture.text);
        return;
    }
    printf("base: loss %.4f to %.4f\n", mean_loss(base_run, 1), mean_loss(base_run, 26));
    AT_CHECK(mean_loss(base_run, 26) < 0.9 * mean_loss(base_run, 1));
    // Begun with these weights, at a rate that moves nothing, the same draws cost less than they did to random ones.
    struct at_train_base_params more = base_job(scratch_path("more"), base_run, 5);
    more.pretrained = true;
    more.train.lr = 1e-9;
    AT_CHECK(at_train_base(dev, &more, capture_start(&capture)));
    AT_CHECK(mean_loss(more.train.run, 1) < 0.95 * mean_loss(base_run, 1));
}

static void the_result_draws(void)
{
    static float pixels[TINY_SIDE * TINY_SIDE * 3];
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = base_run}, capture_start(&capture));
    struct at_sample_item item = {.prompt = "a red ball", .seed = 1};
    if (AT_CHECK(m)) {
        AT_CHECK(at_sample(m, &(struct at_sample_params){.items = &item, .count = 1, .steps = 3, .cfg = 2}, pixels, NULL));
        AT_CHECK_INT(capture.messages, 0);
    }
    at_model_destroy(&m);
}

// 2 + 2 steps are 4, bit for bit, averages included.
static void both_go_on_where_they_stopped(void)
{
    static const char state[] = "checkpoint-000004/state.safetensors";
    char a[512], b[512], run[2][256];
    for (int base = 0; base < 2; base++) {
        for (int k = 0; k < 2; k++)
            snprintf(run[k], sizeof(run[k]), "%s", scratch_path(base ? k ? "b2" : "b1" : k ? "v2" : "v1"));
        for (int leg = 0; leg < 3; leg++) { // 4 steps at once; 2; 2 more
            struct at_train_vae_params v = vae_job(run[leg > 0], leg == 1 ? 2 : 4);
            struct at_train_base_params t = base_job(run[leg > 0], tiny_path("model"), leg == 1 ? 2 : 4);
            v.train.optimizer.ema = t.train.optimizer.ema = 0.9;
            v.train.resume = t.train.resume = leg == 2;
            AT_CHECK(base ? at_train_base(dev, &t, capture_start(&capture)) : at_train_vae(dev, &v, capture_start(&capture)));
        }
        snprintf(a, sizeof(a), "%s/%s", run[0], state);
        snprintf(b, sizeof(b), "%s/%s", run[1], state);
        AT_CHECK(tiny_same_files(a, b));
        AT_CHECK(tiny_same_metrics(run[0], run[1]));
    }
}

static void refused(bool ok, enum at_error kind, const char *part)
{
    AT_CHECK(!ok);
    AT_CHECK_INT(capture.log.error, kind);
    if (!AT_CHECK(strstr(capture.text, part) != NULL))
        printf("message: \"%s\"\n", capture.text);
}

static void bad_settings_are_refused(void)
{
    struct at_train_vae_params v = vae_job(scratch_path("bad"), 1);
    v.train.batch = 0;
    refused(at_train_vae(dev, &v, capture_start(&capture)), AT_ERROR_USAGE, "batch 0");
    v = vae_job(scratch_path("bad"), 1);
    v.data.size = 31;
    refused(at_train_vae(dev, &v, capture_start(&capture)), AT_ERROR_USAGE, "size 31");
    struct at_train_base_params b = base_job(scratch_path("bad"), tiny_path("model"), 1);
    b.train.batch = -1;
    refused(at_train_base(dev, &b, capture_start(&capture)), AT_ERROR_USAGE, "batch -1");
    b = base_job(scratch_path("bad"), tiny_path("model"), 1);
    b.caption_dropout = 2;
    refused(at_train_base(dev, &b, capture_start(&capture)), AT_ERROR_USAGE, "caption dropout 2");
    b = base_job(scratch_path("bad"), scratch_path("nowhere"), 1);
    refused(at_train_base(dev, &b, capture_start(&capture)), AT_ERROR_INPUT, "nowhere");
    AT_CHECK(!at_dir_exists(scratch_path("bad")));
}

int main(void)
{
    scratch_make();
    dev = tiny_device(capture_start(&capture), 2);
    snprintf(vae_run, sizeof(vae_run), "%s", scratch_path("vae"));
    snprintf(base_run, sizeof(base_run), "%s", scratch_path("base"));
    AT_RUN(an_autoencoder_learns);
    AT_RUN(its_latents_are_scaled);
    AT_RUN(a_base_model_learns);
    AT_RUN(the_result_draws);
    AT_RUN(both_go_on_where_they_stopped);
    AT_RUN(bad_settings_are_refused);
    if (getenv("AT_TEST_KEEP")) // for make_tiny.py check
        printf("kept: %s\n", base_run);
    else
        scratch_remove();
    at_device_close(&dev);
    return at_test_end();
}
