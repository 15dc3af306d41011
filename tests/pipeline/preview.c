// SPDX-License-Identifier: Apache-2.0
// Pictures in the making, and AutoencoderTiny in the place of a model's autoencoder: random ones, made here.
#include "core/base/rng.h"
#include "core/graph/dry.h"
#include "core/models/vae.h"
#include "tests/harness.h"
#include "tests/pipeline/tiny.h"
#include "tests/unit/capture.h"

#include "pipelines/model/vae_folder.h"
#include "pipelines/sample/preview.h"
#include "pipelines/sample/sample.h"

#include <unistd.h>

#define PIXELS (TINY_SIDE * TINY_SIDE * 3)
#define LATENT (TINY_LATENT * TINY_LATENT * TINY_CHANNELS)

static struct capture capture;
static struct at_device *dev;
static struct at_model *model;

static const char good[] = "{\"_class_name\": \"AutoencoderTiny\", \"act_fn\": \"relu\", \"latent_channels\": 4,"
                           "\"encoder_block_out_channels\": [8, 8], \"decoder_block_out_channels\": [8, 8],"
                           "\"num_encoder_blocks\": [1, 2], \"num_decoder_blocks\": [2, 1], \"scaling_factor\": 0.8}";

static void write_config(const char *dir, const char *text)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/config.json", dir);
    AT_CHECK(at_dir_make(NULL, dir) && at_file_replace(NULL, path, text, strlen(text)));
}

// A folder with a random AutoencoderTiny of this config.
static void write_vae(const char *dir, const char *config)
{
    struct at_log *log = capture_start(&capture);
    char path[512];
    snprintf(path, sizeof(path), "%s/diffusion_pytorch_model.safetensors", dir);
    write_config(dir, config);
    struct at_vae_config c;
    struct at_json_doc *doc = at_json_parse(log, "config", config, strlen(config), NULL);
    struct at_params *params = at_params_create(log);
    struct at_graph *g = at_graph_create(log);
    struct at_builder b = {.g = g, .params = params};
    bool ok = AT_CHECK(doc && params && g && at_vae_config_parse(at_json_root(doc), &c));
    int side = ok ? at_vae_factor(&c) : 1;
    ok = ok && at_vae_encode(&b, &c, at_graph_input(g, "x", AT_SHAPE(1, side, side, c.in_channels), AT_F32)) &&
         at_vae_decode(&b, &c, at_graph_input(g, "z", AT_SHAPE(1, 1, 1, c.latent_channels), AT_F32)) &&
         at_params_allocate(params, dev, 0) && at_params_init(params, 7) &&
         at_params_save(params, &(struct at_params_save_params){.path = path, .dtype = AT_ST_F32});
    AT_CHECK(ok);
    at_graph_destroy(&g);
    at_params_destroy(&params);
    at_json_destroy(&doc);
}

// The tiny model with another autoencoder.
static const char *write_model(const char *name, const char *config)
{
    static const char *const parts[] = {"model_index.json", "scheduler", "text_encoder", "tokenizer", "unet"};
    static char dir[512];
    char path[1024], here[64], target[4096];
    snprintf(dir, sizeof(dir), "%s", scratch_path(name));
    AT_CHECK(at_dir_make(NULL, dir));
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, parts[i]);
        snprintf(here, sizeof(here), "model/%s", parts[i]);
        AT_CHECK(realpath(tiny_path(here), target) && symlink(target, path) == 0);
    }
    snprintf(path, sizeof(path), "%s/vae", dir);
    write_vae(path, config);
    return dir;
}

static const struct at_sample_item items[5] = {{"a", NULL, 1}, {"b", NULL, 2}, {"c", NULL, 3}, {"d", NULL, 4},
                                               {"e", NULL, 5}};

struct seen {
    int count, first[32], step[32], width, height;
    uint8_t colour; // the spread of the last sheet's first picture
};

static bool note(void *priv, const struct at_preview_sheet *s)
{
    struct seen *seen = priv;
    if (seen->count < 32) {
        seen->first[seen->count] = s->first;
        seen->step[seen->count] = s->step;
    }
    seen->count++;
    seen->width = s->image.width;
    seen->height = s->image.height;
    uint8_t low = 255, high = 0;
    for (int y = 20; y < 120; y++)
        for (int x = 60; x < 360; x++) {
            uint8_t v = s->image.pixels[y * s->image.width * 3 + x];
            low = v < low ? v : low;
            high = v > high ? v : high;
        }
    seen->colour = high - low;
    return true;
}

static void sample_with(const char *vae, bool colours, enum at_preview_way way)
{
    static float plain[5 * PIXELS], shown[5 * PIXELS];
    struct seen seen = {0};
    struct at_sample_params p = {.items = items, .count = 5, .steps = 6, .cfg = 3, .batch = 2};
    AT_CHECK(at_sample(model, &p, plain, NULL));
    struct at_preview_params pp = {.every = 2, .vae = vae, .colours = colours, .show = note, .priv = &seen};
    p.preview = at_preview_open(model, &pp);
    if (p.preview && way == AT_PREVIEW_FULL) { // as at_preview_begin leaves it where decoding is cheap
        p.preview->height = p.preview->width = TINY_LATENT;
        p.preview->copies = 2;
        p.preview->way = way;
    }
    if (!AT_CHECK(p.preview && at_sample(model, &p, shown, NULL)))
        printf("%s\n", capture.text);
    AT_CHECK_NEAR(tiny_distance(plain, shown, 5 * PIXELS), 0, 0); // the pictures are what they are without
    AT_CHECK_INT(seen.count, 6); // steps 2 and 4 of three batches
    for (int i = 0; i < 6; i++) {
        AT_CHECK_INT(seen.first[i], i / 2 * 2);
        AT_CHECK_INT(seen.step[i], i % 2 * 2 + 2);
    }
    AT_CHECK(seen.colour > 5);
    if (p.preview)
        AT_CHECK_INT(p.preview->way, way);
    at_preview_close(&p.preview);
}

static void previews_leave_the_pictures_alone(void)
{
    capture_start(&capture);
    sample_with(scratch_path("taesd"), false, AT_PREVIEW_VAE);
    sample_with(NULL, true, AT_PREVIEW_COLOURS);
    sample_with(NULL, false, AT_PREVIEW_FULL);
}

static bool keep(void *priv, const struct at_preview_sheet *s)
{
    struct at_image *out = priv;
    return at_image_crop(NULL, &s->image, 0, 0, s->image.width, s->image.height, out);
}

// A sheet shows what the autoencoder of the folder makes of the model's scaled latents.
static void a_sheet_is_what_the_autoencoder_decodes(void)
{
    static float z[3 * LATENT], pixels[3 * PIXELS];
    struct at_log *log = capture_start(&capture);
    struct at_image shown = {0}, want = {0};
    struct at_preview *p = at_preview_open(model, &(struct at_preview_params){.every = 1, .vae = scratch_path("taesd"),
                                                                             .show = keep, .priv = &shown});
    struct at_model *vae = at_vae_folder_open(dev, scratch_path("taesd"), log);
    at_rng_normal(z, 3 * LATENT, 3, AT_STREAM_MAKE, 0);
    bool ok = p && vae && at_preview_begin(p, model, TINY_LATENT, TINY_LATENT, 1) &&
              at_preview_step(p, model, z, 3, &(struct at_preview_sheet){.step = 1, .steps = 2}) &&
              at_model_decode(vae, z, 3, TINY_LATENT, TINY_LATENT, pixels);
    struct at_sheet_params sp = {.pixels = pixels, .count = 3, .height = TINY_SIDE, .width = TINY_SIDE,
                                 .to_height = TINY_SIDE, .to_width = TINY_SIDE};
    if (AT_CHECK(ok && at_sheet_draw(log, &sp, &want) && want.width == shown.width && want.height == shown.height))
        AT_CHECK(memcmp(want.pixels, shown.pixels, (size_t)want.width * (size_t)want.height * 3) == 0);
    AT_CHECK(ok && vae->vae.scaling_factor == 0.8f);
    at_image_finish(&shown);
    at_image_finish(&want);
    at_preview_close(&p);
    at_model_destroy(&vae);
}

// Colours guessed from latents follow what the model decodes: held to the embedded model, on latents of real pictures.
static void colours_are_near(void)
{
    enum { N = 4, SIDE = 64, L = SIDE / 4 };
    static float images[N * SIDE * SIDE * 3], moments[N * L * L * 8], z[N * L * L * 4], colours[N * L * L * 3];
    struct at_log *log = capture_start(&capture);
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.parts = AT_PART_VAE}, log);
    struct at_pictures *pictures = at_pictures_open(&(struct at_picture_source){.size = SIDE, .seed = 3}, log);
    struct at_latent_rgb rgb;
    bool ok = m && pictures && at_latent_rgb_fit(m, &rgb);
    for (int i = 0; ok && i < N; i++)
        ok = at_pictures_draw(pictures, (uint64_t)(11 * i), images + i * SIDE * SIDE * 3, NULL) != NULL;
    if (AT_CHECK(ok && at_model_encode(m, images, N, SIDE, SIDE, moments))) {
        double error = 0, spread = 0, mean = 0, guess = 0, guesses = 0;
        at_model_latent(m, moments, NULL, N * L * L, z);
        at_latent_rgb_apply(&rgb, z, N * L * L, colours);
        for (int i = 0; i < N * L * L * 3; i++) {
            int c = i % 3, x = i / 3 % L, y = i / 3 / L % L, n = i / 3 / L / L;
            double sum = 0;
            for (int k = 0; k < 16; k++)
                sum += (double)images[((n * SIDE + 4 * y + k / 4) * SIDE + 4 * x + k % 4) * 3 + c] / 16;
            error += (colours[i] - sum) * (colours[i] - sum) / (N * L * L * 3);
            mean += sum / (N * L * L * 3);
            guess += colours[i] / (N * L * L * 3);
            guesses += colours[i] * colours[i] / (N * L * L * 3);
            spread += sum * sum / (N * L * L * 3);
        }
        double width = sqrt(guesses - guess * guess);
        printf("colours of latents are off by %.3f, of a spread of %.3f; they spread by %.3f\n", sqrt(error),
               sqrt(spread - mean * mean), width);
        AT_CHECK(sqrt(error) < 0.7 * sqrt(spread - mean * mean));
        AT_CHECK(width > 0.78 * sqrt(spread - mean * mean)); // a bare fit is paler: 0.72
    }
    at_pictures_close(&pictures);
    at_model_destroy(&m);
}

static bool job(struct at_device *on, size_t limit)
{
    static float pixels[5 * PIXELS];
    struct at_model *m = at_model_open(on, &(struct at_model_params){.path = tiny_path("model")}, &capture.log);
    struct at_preview *p = m ? at_preview_open(m, &(struct at_preview_params){.every = 1, .vae = scratch_path("taesd")})
                             : NULL;
    struct at_sample_params sp = {.items = items, .count = 5, .steps = 2, .cfg = 3, .preview = p, .memory_limit = limit};
    bool ok = p && at_sample(m, &sp, pixels, NULL);
    at_preview_close(&p);
    at_model_destroy(&m);
    return ok;
}

static void memory_is_counted(void)
{
    struct at_log *log = capture_start(&capture);
    struct at_device *dry = at_dry_open(dev, log);
    dev->peak = dev->allocated;
    size_t before = dev->allocated;
    AT_CHECK(dry && job(dry, 0) && job(dev, 0));
    AT_CHECK_INT(dry->peak, dev->peak - before);
    size_t limit = dev->peak - before / 2 - (dev->peak - before) / 10;
    dev->peak = dev->allocated;
    AT_CHECK(job(dev, limit) && dev->peak <= limit);
    at_device_close(&dry);
}

static void a_model_with_a_tiny_autoencoder(void)
{
    static float pixels[5 * PIXELS];
    struct at_log *log = capture_start(&capture);
    const char *dir = write_model("tiny-vae", good);
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = dir}, log);
    struct at_sample_params p = {.items = items, .count = 5, .steps = 2, .cfg = 3, .batch = 2};
    AT_CHECK(m && at_sample(m, &p, pixels, NULL));
    at_model_destroy(&m);
    double loss[2];
    for (int noise = 0; noise < 2; noise++) { // there is no distribution to draw from
        struct at_train_dpo_params t = tiny_dpo(scratch_path(noise ? "drawn" : "mean"), 2);
        t.model = dir;
        t.sample_posterior = noise;
        AT_CHECK(at_train_dpo(dev, &t, log));
        loss[noise] = tiny_metric(t.train.run, 2, "loss");
    }
    AT_CHECK(isfinite(loss[0]) && loss[0] == loss[1]);
    struct at_train_base_params base = {.train = tiny_train(scratch_path("base"), 1), .model = dir,
                                        .data = {.imagefolder = tiny_path("pictures"), .size = TINY_SIDE}};
    AT_CHECK(at_train_base(dev, &base, log));
    struct at_train_vae_params vae = {.train = tiny_train(scratch_path("vae"), 1), .config = dir,
                                      .data = {.imagefolder = tiny_path("pictures"), .size = TINY_SIDE}};
    capture_start(&capture);
    AT_CHECK(!at_train_vae(dev, &vae, log) && capture_says(&capture, "AutoencoderTiny"));
}

static struct at_train_dpo_params with_samples(const char *run, const char *prompts, struct at_forecast *forecast)
{
    struct at_train_dpo_params p = tiny_dpo(run, 3);
    p.train.samples = (struct at_train_samples_params){.every = 2, .prompts = prompts, .steps = 2, .cfg = 3};
    p.train.forecast = forecast;
    return p;
}

static const char *file_with(const char *name, const char *text)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s", scratch_path(name));
    AT_CHECK(at_file_replace(NULL, path, text, strlen(text)));
    return path;
}

// Pictures on the way change nothing of the training, show that it trains, and are in the forecast.
static void a_training_draws_samples(void)
{
    static const int steps[] = {0, 2, 3};
    struct at_log *log = capture_start(&capture);
    const char *prompts = file_with("prompts.txt", "a red ball\na blue box --d 7 --n dull\n");
    struct at_train_dpo_params plain = tiny_dpo(scratch_path("plain"), 3), seen;
    struct at_forecast f;
    struct at_image image[3] = {{0}};
    char path[512];
    AT_CHECK(at_train_dpo(dev, &plain, log));
    struct at_device *dry = at_dry_open(dev, log);
    seen = with_samples(scratch_path("seen"), prompts, &f);
    AT_CHECK(dry && at_train_dpo(dry, &seen, log) && !at_dir_exists(scratch_path("seen")));
    seen.train.forecast = NULL;
    size_t before = dev->peak = dev->allocated;
    AT_CHECK(at_train_dpo(dev, &seen, log));
    AT_CHECK_INT(dry->peak, dev->peak - before);
    AT_CHECK(tiny_same_metrics(scratch_path("plain"), scratch_path("seen")));
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/samples/%06d.png", scratch_path("seen"), steps[i]);
        AT_CHECK(at_image_read(log, path, 3, &image[i]));
    }
    size_t bytes = (size_t)image[0].width * (size_t)image[0].height * 3;
    AT_CHECK(bytes && image[2].width == image[0].width && memcmp(image[0].pixels, image[2].pixels, bytes) != 0);
    for (int i = 0; i < 3; i++)
        at_image_finish(&image[i]);
    at_device_close(&dry);
    struct at_train_base_params base = {.train = tiny_train(scratch_path("base-seen"), 1), .model = tiny_path("model"),
                                        .data = {.imagefolder = tiny_path("pictures"), .size = TINY_SIDE}};
    base.train.samples = seen.train.samples;
    AT_CHECK(at_train_base(dev, &base, log));
    snprintf(path, sizeof(path), "%s/samples/000001.png", scratch_path("base-seen"));
    AT_CHECK(at_file_exists(path));
}

static bool stop_after(void *priv)
{
    return --*(int *)priv <= 0;
}

// Whenever it is stopped, while it draws too: what was trained is saved, no sheet is half written.
static void samples_can_be_interrupted(void)
{
    const char *prompts = file_with("prompts.txt", "a red ball\n");
    bool drawing = false;
    for (int asked = 1; asked < 30; asked++) {
        char name[32], path[512];
        snprintf(name, sizeof(name), "stop-%d", asked);
        struct at_train_dpo_params p = with_samples(scratch_path(name), prompts, NULL);
        int left = asked;
        p.train.interrupted = stop_after;
        p.train.priv = &left;
        struct at_log *log = capture_start(&capture);
        if (at_train_dpo(dev, &p, log))
            break;
        AT_CHECK_INT(log->error, AT_ERROR_INTERRUPTED);
        AT_CHECK_INT(tiny_left_over(scratch_path(name)), 0);
        snprintf(path, sizeof(path), "%s/samples/000000.png", scratch_path(name));
        bool started = at_file_exists(path);
        snprintf(path, sizeof(path), "%s/samples/000002.png", scratch_path(name));
        bool drawn = at_file_exists(path);
        snprintf(path, sizeof(path), "%s/checkpoint-000002", scratch_path(name));
        drawing = drawing || (started && !drawn && at_dir_exists(path));
    }
    AT_CHECK(drawing);
}

static void wrong_samples(void)
{
    static const struct {
        const char *text, *says;
    } cases[] = {{"a\nb --s 3\n", "bad.txt:2: size, steps"}, {"", "there is no prompt"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct at_train_dpo_params p = with_samples(scratch_path("never"), file_with("bad.txt", cases[i].text), NULL);
        capture_start(&capture);
        AT_CHECK(!at_train_dpo(dev, &p, &capture.log) && capture_says(&capture, cases[i].says));
    }
    struct at_train_dpo_params p = with_samples(scratch_path("never"), NULL, NULL);
    capture_start(&capture);
    AT_CHECK(!at_train_dpo(dev, &p, &capture.log) && capture.log.error == AT_ERROR_USAGE);
    AT_CHECK(!at_dir_exists(scratch_path("never")));
}

static void refused(const char *dir, const char *part)
{
    capture_start(&capture);
    struct at_preview *p = at_preview_open(model, &(struct at_preview_params){.every = 1, .vae = dir});
    AT_CHECK(!p && capture_says(&capture, part));
    at_preview_close(&p);
}

// An autoencoder opened, fitted, and a sheet drawn with it.
static bool draw_once(void)
{
    static float z[16 * TINY_CHANNELS];
    struct seen seen = {0};
    struct at_log *log = capture_start(&capture);
    struct at_model *m = at_vae_folder_open(dev, scratch_path("taesd"), log);
    struct at_preview_params pp = {.every = 1, .colours = true, .show = note, .priv = &seen};
    struct at_preview *p = m ? at_preview_open(m, &pp) : NULL;
    bool ok = p && at_preview_begin(p, m, 4, 4, 1) &&
              at_preview_step(p, m, z, 1, &(struct at_preview_sheet){.step = 1, .steps = 2});
    at_preview_close(&p);
    at_model_destroy(&m);
    return ok;
}

static void no_memory(void)
{
    size_t before = dev->allocated;
    for (size_t n = 1, happened = 1; happened && n < 10000; n++) {
        at_alloc_fail_at(n, false);
        bool ok = draw_once();
        happened = at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(ok || (happened && capture.log.error != AT_ERROR_NONE)); // some are looked for and not missed
    }
    AT_CHECK_INT(dev->allocated, before);
}

static void wrong_folders(void)
{
    static const struct {
        const char *config, *says;
    } cases[] = {
        {"{\"_class_name\": \"AutoencoderDC\"}", "only AutoencoderKL and AutoencoderTiny"},
        {"{\"_class_name\": \"AutoencoderTiny\", \"act_fn\": \"silu\"}", "only \"relu\""},
        {"{\"_class_name\": \"AutoencoderTiny\", \"num_encoder_blocks\": [1, 3]}", "has 2"},
        {"{\"_class_name\": \"AutoencoderTiny\", \"num_encoder_blocks\": [1, -3, 3, 3]}", "num_encoder_blocks"},
        {"{\"_class_name\": \"AutoencoderTiny\", \"decoder_block_out_channels\": [64, 64, 64, 32]}", "differ"},
        {"{\"_class_name\": \"AutoencoderTiny\", \"upsampling_scaling_factor\": 4}", "only 2"},
        {"{\"_class_name\": \"AutoencoderTiny\", \"latent_magnitude\": 0}", "latent_magnitude"},
        {"{\"_class_name\": \"AutoencoderTiny\", \"scaling_factor\": 0}", "scaling_factor"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        write_config(scratch_path("wrong"), cases[i].config);
        refused(scratch_path("wrong"), cases[i].says);
    }
    write_config(scratch_path("wrong"), good);
    refused(scratch_path("wrong"), "diffusion_pytorch_model"); // there are no weights
    refused(scratch_path("nowhere"), "config.json: there is no such file");
    write_vae(scratch_path("wide"), "{\"_class_name\": \"AutoencoderTiny\", \"latent_channels\": 16,"
                                    "\"encoder_block_out_channels\": [8, 8], \"decoder_block_out_channels\": [8, 8],"
                                    "\"num_encoder_blocks\": [0, 0], \"num_decoder_blocks\": [0, 0]}");
    refused(scratch_path("wide"), "the model's latents have 4");
    write_vae(scratch_path("far"), "{\"_class_name\": \"AutoencoderTiny\", \"num_encoder_blocks\": [0, 0, 0],"
                                   "\"encoder_block_out_channels\": [8, 8, 8], \"num_decoder_blocks\": [0, 0, 0],"
                                   "\"decoder_block_out_channels\": [8, 8, 8]}");
    refused(scratch_path("far"), "a latent is 4 pixels wide");
    write_vae(scratch_path("narrow"), good);
    write_config(scratch_path("narrow"), "{\"_class_name\": \"AutoencoderTiny\", \"num_encoder_blocks\": [1, 2],"
                                         "\"num_decoder_blocks\": [2, 1], \"encoder_block_out_channels\": [8, 8],"
                                         "\"decoder_block_out_channels\": [4, 4]}");
    refused(scratch_path("narrow"), "wrong shape");
}

int main(void)
{
    scratch_make();
    dev = tiny_device(capture_start(&capture), 2);
    model = at_model_open(dev, &(struct at_model_params){.path = tiny_path("model")}, &capture.log);
    write_vae(scratch_path("taesd"), good);
    if (AT_CHECK(model)) {
        AT_RUN(previews_leave_the_pictures_alone);
        AT_RUN(a_sheet_is_what_the_autoencoder_decodes);
        AT_RUN(colours_are_near);
        AT_RUN(memory_is_counted);
        AT_RUN(a_model_with_a_tiny_autoencoder);
        AT_RUN(wrong_folders);
        AT_RUN(no_memory);
        AT_RUN(a_training_draws_samples);
        AT_RUN(samples_can_be_interrupted);
        AT_RUN(wrong_samples);
    }
    at_model_destroy(&model);
    at_device_close(&dev);
    scratch_remove();
    return at_test_end();
}
