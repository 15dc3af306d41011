// SPDX-License-Identifier: Apache-2.0
// Sampling from the tiny model: against diffusers, and what a seed, a batch, guidance, eta and an adapter must do.
#include "pipelines/model/text.h"
#include "tests/pipeline/tiny.h"

#include "core/base/rng.h"
#include "core/io/safetensors.h"

#define LATENT (TINY_LATENT * TINY_LATENT * TINY_CHANNELS)
#define PIXELS (TINY_SIDE * TINY_SIDE * 3)
#define MANY 8

static struct capture capture;
static struct at_device *dev;
static struct at_model *model;

static const struct at_sample_item golden_items[2] = {{.prompt = "a red kite", .negative = "a dull cat"},
                                                      {.prompt = "two blue cups", .negative = "a dull cat"}};

// A tensor (N,C,H,W) of io.safetensors as (N,H,W,C).
static void read_golden(const struct at_safetensors *io, const char *name, float *out)
{
    const struct at_st_tensor *t = at_safetensors_find(io, name);
    static float plain[MANY * PIXELS];
    if (!AT_CHECK(t && t->elements <= MANY * PIXELS && at_safetensors_to_f32(io, t, plain)))
        return;
    size_t n = (size_t)t->shape[0], c = (size_t)t->shape[1], area = t->rank == 4 ? (size_t)(t->shape[2] * t->shape[3]) : 1;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < c; k++)
            for (size_t p = 0; p < area; p++)
                out[(i * area + p) * c + k] = plain[(i * c + k) * area + p];
}

// A whole run of diffusers' pipeline. In float it loses 1e-6 itself (make_tiny.py prints it).
static void golden_run(const struct at_safetensors *io, const char *run, int steps, double cfg)
{
    static float init[2 * LATENT], want[2 * PIXELS], latents[2 * LATENT], pixels[2 * PIXELS];
    char name[64];
    read_golden(io, "x", init);
    struct at_sample_params p = {.items = golden_items, .count = 2, .steps = steps, .cfg = cfg, .init = init};
    AT_CHECK(at_sample(model, &p, pixels, latents));
    snprintf(name, sizeof(name), "%s.latents", run);
    read_golden(io, name, want);
    double error = tiny_distance(latents, want, 2 * LATENT);
    AT_CHECK_NEAR(error, 0, 2e-5);
    snprintf(name, sizeof(name), "%s.pixels", run);
    read_golden(io, name, want);
    printf("%s: latents differ by %.1e, pixels by %.1e\n", run, error, tiny_distance(pixels, want, 2 * PIXELS));
    AT_CHECK_NEAR(tiny_distance(pixels, want, 2 * PIXELS), 0, 2e-5);
}

static void as_diffusers_draws(void)
{
    struct at_safetensors *io = at_safetensors_open(&capture.log, tiny_path("io.safetensors"));
    if (!AT_CHECK(io))
        return;
    golden_run(io, "four", 4, 4);
    golden_run(io, "seven", 7, 4);
    golden_run(io, "plain", 4, 1);
    at_safetensors_destroy(&io);
}

static void as_diffusers_reads_and_encodes(void)
{
    static float hidden[3 * 16 * 16], moments[2 * 2 * LATENT], want[4 * LATENT], pixels[2 * PIXELS];
    struct at_safetensors *io = at_safetensors_open(&capture.log, tiny_path("io.safetensors"));
    if (!AT_CHECK(io))
        return;
    const char *prompts[] = {"a red kite", "two blue cups", "a dull cat"};
    AT_CHECK_INT(at_text_tokens(model), 16);
    AT_CHECK(at_text_embed(model, prompts, 3, NULL, hidden));
    const struct at_st_tensor *t = at_safetensors_find(io, "hidden");
    AT_CHECK(t && t->elements == 3 * 16 * 16 && at_safetensors_to_f32(io, t, want));
    AT_CHECK_NEAR(tiny_distance(hidden, want, 3 * 16 * 16), 0, 2e-5);
    read_golden(io, "four.pixels", pixels);
    for (int i = 0; i < 2 * PIXELS; i++)
        pixels[i] = 2 * pixels[i] - 1;
    AT_CHECK(at_model_encode(model, pixels, 2, TINY_SIDE, TINY_SIDE, moments));
    read_golden(io, "moments", want);
    AT_CHECK_NEAR(tiny_distance(moments, want, 4 * LATENT), 0, 3e-5);
    at_safetensors_destroy(&io);
}

// Eight images, all in static buffers: image i has seed 40 + i.
static bool draw_many(const struct at_sample_params *how, float *pixels)
{
    struct at_sample_item items[MANY];
    for (int i = 0; i < MANY; i++)
        items[i] = (struct at_sample_item){i % 2 ? "a green box" : "a red ball", NULL, 40 + (uint64_t)i};
    struct at_sample_params p = *how;
    p.items = items;
    p.count = MANY;
    p.steps = 3;
    return at_sample(model, &p, pixels, NULL);
}

static float first[MANY * PIXELS], second[MANY * PIXELS];

static void batch_does_not_matter(void)
{
    static const double guidance[] = {4, 1}, noise[] = {0, 0.7};
    static const int batches[] = {1, 3, 8, 0};
    for (int g = 0; g < 2; g++) {
        AT_CHECK(draw_many(&(struct at_sample_params){.cfg = guidance[g], .eta = noise[g], .batch = 2}, first));
        for (int i = 0; i < 4; i++) {
            struct at_sample_params p = {.cfg = guidance[g], .eta = noise[g], .batch = batches[i]};
            AT_CHECK(draw_many(&p, second));
            double d = tiny_distance(first, second, MANY * PIXELS);
            printf("guidance %g, batch %d and 2 differ by %.1e\n", guidance[g], batches[i], d);
            AT_CHECK_NEAR(d, 0, 1e-5);
        }
        AT_CHECK(draw_many(&(struct at_sample_params){.cfg = guidance[g], .eta = noise[g], .batch = 2}, second));
        AT_CHECK_NEAR(tiny_distance(first, second, MANY * PIXELS), 0, 0); // the same work twice: bit-equal
    }
}

static void seeds_and_settings_matter(void)
{
    AT_CHECK(draw_many(&(struct at_sample_params){.cfg = 4}, first));
    AT_CHECK(tiny_distance(first, first + 2 * PIXELS, PIXELS) > 0.05); // one prompt, two seeds
    AT_CHECK(draw_many(&(struct at_sample_params){.cfg = 4, .eta = 1}, second));
    AT_CHECK(tiny_distance(first, second, PIXELS) > 0.01);
    AT_CHECK(draw_many(&(struct at_sample_params){.cfg = 1}, second));
    AT_CHECK(tiny_distance(first, second, PIXELS) > 0.001);
}

static void init_replaces_the_seed(void)
{
    static float init[MANY * LATENT];
    for (int i = 0; i < MANY; i++)
        at_rng_normal(init + (size_t)i * LATENT, LATENT, 40 + (uint64_t)i, AT_STREAM_LATENT, 0);
    AT_CHECK(draw_many(&(struct at_sample_params){.cfg = 4}, first));
    AT_CHECK(draw_many(&(struct at_sample_params){.cfg = 4, .init = init}, second));
    AT_CHECK_NEAR(tiny_distance(first, second, MANY * PIXELS), 0, 0);
}

static void adapters(void)
{
    struct at_lora *fresh = at_lora_create(model, &(struct at_lora_params){.rank = 2, .seed = 1});
    if (!AT_CHECK(fresh))
        return;
    float *values = at_calloc((size_t)fresh->part[AT_COMPONENT_UNET].params->total, sizeof(float));
    at_rng_normal(values, (size_t)fresh->part[AT_COMPONENT_UNET].params->total, 3, AT_STREAM_MAKE, 0);
    AT_CHECK(at_lora_save(fresh, scratch_path("lora.safetensors"), &values));
    struct at_lora *none = at_lora_open(model, scratch_path("lora.safetensors"), 0);
    struct at_lora *full = at_lora_open(model, scratch_path("lora.safetensors"), 1);
    AT_CHECK(draw_many(&(struct at_sample_params){.cfg = 4}, first));
    if (AT_CHECK(none && full)) {
        AT_CHECK(draw_many(&(struct at_sample_params){.cfg = 4, .loras = &fresh, .lora_count = 1}, second));
        AT_CHECK_NEAR(tiny_distance(first, second, MANY * PIXELS), 0, 1e-5); // other products carry the bias
        AT_CHECK(draw_many(&(struct at_sample_params){.cfg = 4, .loras = &none, .lora_count = 1}, second));
        AT_CHECK_NEAR(tiny_distance(first, second, MANY * PIXELS), 0, 0);
        AT_CHECK(draw_many(&(struct at_sample_params){.cfg = 4, .loras = &full, .lora_count = 1}, second));
        AT_CHECK(tiny_distance(first, second, MANY * PIXELS) > 0.01);
    }
    at_free(values);
    at_lora_destroy(&none);
    at_lora_destroy(&full);
    at_lora_destroy(&fresh);
}

static void refused(const char *part, const struct at_sample_params *p)
{
    capture_start(&capture);
    AT_CHECK(!at_sample(model, p, first, NULL));
    AT_CHECK(capture.log.error == AT_ERROR_USAGE);
    if (!AT_CHECK(strstr(capture.text, part) != NULL))
        printf("message: \"%s\"\n", capture.text);
    capture_start(&capture);
}

static void bad_settings(void)
{
    refused("multiples of 2", &(struct at_sample_params){.items = golden_items, .count = 1, .width = 31, .cfg = 1});
    refused("steps", &(struct at_sample_params){.items = golden_items, .count = 1, .steps = 1001, .cfg = 1});
    refused("no images", &(struct at_sample_params){.items = golden_items, .count = 0, .cfg = 1});
    refused("guidance", &(struct at_sample_params){.items = golden_items, .count = 1, .cfg = NAN});
    refused("eta", &(struct at_sample_params){.items = golden_items, .count = 1, .cfg = 1, .eta = 2});
}

static bool stop_at_half(void *priv, double done)
{
    *(double *)priv = done;
    return done < 0.5;
}

static void can_be_interrupted(void)
{
    double done = 0;
    struct at_sample_params p = {.items = golden_items, .count = 2, .steps = 4, .cfg = 1, .batch = 1,
                                 .progress = stop_at_half, .priv = &done};
    capture_start(&capture);
    AT_CHECK(!at_sample(model, &p, first, NULL));
    AT_CHECK_INT(capture.log.error, AT_ERROR_INTERRUPTED);
    AT_CHECK_NEAR(done, 0.5, 1e-9);
    capture_start(&capture);
}

// Weights that overflow make no black picture, but an error.
static void a_picture_that_is_not_finite_is_refused(void)
{
    struct at_log *log = capture_start(&capture);
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = tiny_path("model")}, log);
    float *values = m ? at_calloc((size_t)m->vae_params->total, sizeof(float)) : NULL;
    for (int64_t i = 0; values && i < m->vae_params->total; i++)
        values[i] = 1e30f;
    struct at_sample_params p = {.items = golden_items, .count = 1, .steps = 1, .cfg = 1};
    if (AT_CHECK(values && at_params_write(m->vae_params, values)))
        AT_CHECK(!at_sample(m, &p, first, NULL));
    AT_CHECK_INT(capture.log.error, AT_ERROR_FAILED);
    AT_CHECK(strstr(capture.text, "is not finite") != NULL);
    at_free(values);
    at_model_destroy(&m);
}

int main(void)
{
    scratch_make();
    dev = tiny_device(capture_start(&capture), 2);
    model = at_model_open(dev, &(struct at_model_params){.path = tiny_path("model")}, &capture.log);
    if (AT_CHECK(model)) {
        AT_RUN(as_diffusers_draws);
        AT_RUN(as_diffusers_reads_and_encodes);
        AT_RUN(batch_does_not_matter);
        AT_RUN(seeds_and_settings_matter);
        AT_RUN(init_replaces_the_seed);
        AT_RUN(adapters);
        AT_RUN(bad_settings);
        AT_RUN(can_be_interrupted);
        AT_RUN(a_picture_that_is_not_finite_is_refused);
    } else {
        printf("%s\n", capture.text);
    }
    at_model_destroy(&model);
    at_device_close(&dev);
    scratch_remove();
    return at_test_end();
}
