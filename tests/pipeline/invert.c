// SPDX-License-Identifier: Apache-2.0
// Inversion with the tiny model: against diffusers (tests/golden/make_invert.py), and what rounds, batches and limits must
// do. And what diffusers draws from torch's seeds. Argument: --cpu or --vulkan.
#include "tests/pipeline/tiny.h"

#include "core/io/image.h"
#include "core/io/safetensors.h"
#include "core/vulkan/executor.h"
#include "pipelines/sample/invert.h"

#define LATENT (TINY_LATENT * TINY_LATENT * TINY_CHANNELS)
#define PIXELS (TINY_SIDE * TINY_SIDE * 3)
#define TWO (2 * LATENT)

// Relative to the largest value. diffusers itself loses up to 1e-5 of a plain inversion in float, 3e-5 with guidance
// (make_invert.py prints it).
static double tolerance;

static struct capture capture;
static struct at_device *dev;
static struct at_model *model;
static struct at_safetensors *io;
static float pictures[2 * PIXELS];

static const struct at_sample_item items[2] = {{.prompt = "a red ball", .negative = "a dull cat"},
                                               {.prompt = "a blue box", .negative = "a dull cat"}};

static void read_pictures(void)
{
    static const char *const names[] = {"pictures/red-ball-good.png", "pictures/blue-box-good.png"};
    for (int i = 0; i < 2; i++) {
        struct at_image image = {0};
        if (!AT_CHECK(at_image_read(&capture.log, tiny_path(names[i]), 3, &image)))
            continue;
        for (int k = 0; k < PIXELS; k++)
            pictures[i * PIXELS + k] = (float)image.pixels[k] / 255;
        at_image_finish(&image);
    }
}

// max |x - golden| / max |golden|, the golden tensor being (2,C,h,w).
static double off(const char *name, const float *x)
{
    static float want[TWO];
    const struct at_st_tensor *t = at_safetensors_find(io, name);
    double worst = 0, most = 0;
    if (!AT_CHECK(x && t && t->elements == TWO && at_safetensors_to_f32(io, t, want)))
        return INFINITY;
    for (int i = 0; i < 2; i++)
        for (int p = 0; p < TINY_LATENT * TINY_LATENT; p++)
            for (int c = 0; c < TINY_CHANNELS; c++) {
                double w = want[i * LATENT + c * TINY_LATENT * TINY_LATENT + p];
                worst = fmax(worst, fabs((double)x[i * LATENT + p * TINY_CHANNELS + c] - w));
                most = fmax(most, fabs(w));
            }
    return worst / most;
}

// Another reading of the denoiser's output, and other timesteps.
static void set_schedule(enum at_prediction prediction, enum at_spacing spacing)
{
    struct at_schedule_config config = model->schedule->config;
    config.prediction = prediction;
    config.spacing = spacing;
    at_schedule_destroy(&model->schedule);
    model->schedule = at_schedule_create(&config, &capture.log);
    AT_CHECK(model->schedule != NULL);
}

static struct at_invert_params how(double cfg, int rounds)
{
    return (struct at_invert_params){.sample = {.items = items, .count = 2, .steps = 5, .cfg = cfg}, .pixels = pictures,
                                     .rounds = rounds};
}

static bool invert(double cfg, int rounds, struct at_inverted *out)
{
    struct at_invert_params p = how(cfg, rounds);
    capture_start(&capture);
    return AT_CHECK(at_invert(model, &p, out));
}

static void as_diffusers_inverts(void)
{
    static const struct {
        const char *name;
        enum at_prediction prediction;
        enum at_spacing spacing;
    } cases[] = {{"epsilon.leading", AT_PREDICTION_EPSILON, AT_SPACING_LEADING},
                 {"v.leading", AT_PREDICTION_V, AT_SPACING_LEADING},
                 {"v.trailing", AT_PREDICTION_V, AT_SPACING_TRAILING},
                 {"sample.leading", AT_PREDICTION_SAMPLE, AT_SPACING_LEADING}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct at_inverted plain, solved;
        char name[64];
        set_schedule(cases[i].prediction, cases[i].spacing);
        if (!invert(1, 0, &plain) || !invert(1, 4, &solved))
            continue;
        AT_CHECK_INT(capture.messages, 0);
        AT_CHECK(off("encoded", plain.latents) < tolerance);
        snprintf(name, sizeof(name), "%s.noise", cases[i].name);
        double noise = off(name, plain.noise);
        snprintf(name, sizeof(name), "%s.solved", cases[i].name);
        double after = off(name, solved.noise);
        printf("%s: noise differs by %.1e, solved by %.1e; round trip %.2f %.2f, solved %.2f %.2f\n", cases[i].name, noise,
               after, plain.trip[0].latent_error, plain.trip[1].latent_error, solved.trip[0].latent_error,
               solved.trip[1].latent_error);
        AT_CHECK(noise < tolerance && after < tolerance);
        for (int k = 0; k < 2; k++) {
            AT_CHECK(solved.trip[k].residual < solved.trip[k].residual_before);
            AT_CHECK(solved.trip[k].latent_error < plain.trip[k].latent_error);
            AT_CHECK_NEAR(solved.trip[k].rounds, 4, 1e-9);
        }
        at_inverted_finish(&plain);
        at_inverted_finish(&solved);
    }
    set_schedule(AT_PREDICTION_V, AT_SPACING_LEADING);
}

// |golden - latents| / |latents| of the first picture.
static double distance_of(const struct at_st_tensor *t, const float *latents)
{
    static float plain[TWO];
    double miss = 0, size = 0;
    if (!AT_CHECK(t && at_safetensors_to_f32(io, t, plain)))
        return NAN;
    for (int p = 0; p < TINY_LATENT * TINY_LATENT; p++)
        for (int c = 0; c < TINY_CHANNELS; c++) {
            double x = plain[c * TINY_LATENT * TINY_LATENT + p], want = latents[p * TINY_CHANNELS + c];
            miss += (x - want) * (x - want);
            size += want * want;
        }
    return sqrt(miss / size);
}

// The reported error is that of the latents diffusers comes back to; guidance is warned of, and done as there.
static void errors_are_of_the_way_back(void)
{
    struct at_inverted o;
    if (!invert(1, 0, &o))
        return;
    double want = distance_of(at_safetensors_find(io, "v.leading.back"), o.latents);
    printf("error of the first picture %.6f, from diffusers' latents %.6f\n", o.trip[0].latent_error, want);
    AT_CHECK_NEAR(o.trip[0].latent_error, want, 1e-4);
    double sum = 0, bound = 0;
    for (int i = 0; i < PIXELS; i++) {
        sum += pow((double)o.drawn[i] - (double)pictures[i], 2) / PIXELS;
        bound += pow((double)o.decoded[i] - (double)pictures[i], 2) / PIXELS;
    }
    AT_CHECK_NEAR(o.trip[0].psnr, -10 * log10(sum), 1e-6);
    AT_CHECK_NEAR(o.trip[0].psnr_bound, -10 * log10(bound), 1e-6);
    at_inverted_finish(&o);
    if (!invert(4, 0, &o))
        return;
    AT_CHECK(strstr(capture.text, "--cfg 1 inverts best") != NULL);
    double noise = off("guided.noise", o.noise);
    printf("with guidance noise differs by %.1e\n", noise);
    AT_CHECK(noise < tolerance);
    want = distance_of(at_safetensors_find(io, "guided.back"), o.latents);
    AT_CHECK_NEAR(o.trip[0].latent_error, want, 1e-3 * want);
    at_inverted_finish(&o);
}

// Pictures of a batch do not hang on each other, though one may need fewer rounds.
static void batches_do_not_matter(void)
{
    struct at_inverted two, one;
    struct at_invert_params p = how(1, 40);
    p.tolerance = 0.05;
    if (!AT_CHECK(at_invert(model, &p, &two)))
        return;
    p.sample.batch = 1;
    if (AT_CHECK(at_invert(model, &p, &one))) {
        double d = tiny_distance(two.noise, one.noise, TWO);
        printf("in batches of one: noise differs by %.1e, rounds %.1f and %.1f\n", d, one.trip[0].rounds, one.trip[1].rounds);
        AT_CHECK(d < 1e-4);
        for (int i = 0; i < 2; i++) {
            AT_CHECK_NEAR(two.trip[i].rounds, one.trip[i].rounds, 1e-9);
            AT_CHECK(one.trip[i].rounds < 40 && one.trip[i].residual <= p.tolerance);
        }
        at_inverted_finish(&one);
    }
    at_inverted_finish(&two);
}

// Many rounds: sampling leads back to the latents as they were.
static void enough_rounds_lead_all_the_way_back(void)
{
    struct at_inverted o;
    struct at_invert_params p = how(1, 100);
    p.tolerance = 1e-6;
    if (!AT_CHECK(at_invert(model, &p, &o)))
        return;
    for (int i = 0; i < 2; i++) {
        printf("after %.1f rounds: residual %.1e, latents off by %.1e, %.1f dB from the autoencoder's picture\n",
               o.trip[i].rounds, o.trip[i].residual, o.trip[i].latent_error, o.trip[i].psnr_of_autoencoder);
        AT_CHECK(o.trip[i].latent_error < 1e-4 && o.trip[i].psnr_of_autoencoder > 70);
    }
    at_inverted_finish(&o);
}

static void refused(struct at_invert_params p, const char *reason, enum at_error kind)
{
    struct at_inverted o;
    capture_start(&capture);
    AT_CHECK(!at_invert(model, &p, &o) && !o.noise);
    AT_CHECK_INT(capture.log.error, kind);
    if (!AT_CHECK(strstr(capture.text, reason) != NULL))
        printf("message: \"%s\"\n", capture.text);
    capture_start(&capture);
}

static bool stop(void *priv, double done)
{
    *(double *)priv = done;
    return done < 0.3;
}

static void what_cannot_be_is_refused(void)
{
    struct at_invert_params p = how(1, -1);
    refused(p, "neither can be negative", AT_ERROR_USAGE);
    p = how(1, 0);
    p.sample.width = 31;
    refused(p, "multiples of 2", AT_ERROR_USAGE);
    p = how(1, 0);
    p.sample.memory_limit = 1;
    refused(p, "the autoencoder needs", AT_ERROR_DEVICE);
    double done = 0;
    p = how(1, 2);
    p.sample.progress = stop;
    p.sample.priv = &done;
    refused(p, "interrupted", AT_ERROR_INTERRUPTED);
    AT_CHECK(done >= 0.3 && done < 0.5);
    model->schedule->final_alpha = 1; // as set_alpha_to_one
    model->schedule->config.prediction = AT_PREDICTION_SAMPLE;
    refused(how(1, 0), "set_alpha_to_one must be false", AT_ERROR_INPUT);
    set_schedule(AT_PREDICTION_V, AT_SPACING_LEADING);
}

// Whole runs of diffusers' pipeline from a list of generators: their numbers, order and shape, and guidance_rescale.
static void seeds_of_torch(void)
{
    static const struct {
        const char *name;
        enum at_sampler_kind kind;
        double eta;
    } cases[] = {{"ddim", AT_SAMPLER_DDIM, 0.7}, {"ddpm", AT_SAMPLER_DDPM, 0}, {"euler_a", AT_SAMPLER_EULER_ANCESTRAL, 0},
                 {"lcm", AT_SAMPLER_LCM, 0}};
    static float latents[TWO];
    const struct at_sample_item seeded[2] = {{"a red kite", "a dull cat", 42}, {"two blue cups", "a dull cat", (1ULL << 32) + 7}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char name[64];
        struct at_sample_params p = {.items = seeded, .count = 2, .steps = 5, .cfg = 4, .cfg_rescale = 0.7,
                                     .rng = AT_RNG_TORCH, .sampler = cases[i].kind, .eta = cases[i].eta};
        AT_CHECK(at_sample(model, &p, NULL, latents));
        snprintf(name, sizeof(name), "seeds.%s.latents", cases[i].name);
        double d = off(name, latents);
        printf("%s from torch's seeds: latents differ by %.1e\n", cases[i].name, d);
        AT_CHECK(d < tolerance);
        p.batch = 1;
        AT_CHECK(at_sample(model, &p, NULL, latents) && off(name, latents) < tolerance);
    }
}

// Every failing allocation is said, or does no harm; nothing of a failed inversion is left.
static void memory_runs_out(void)
{
    size_t tried = 0;
    for (size_t n = 1;; n += n < 90 ? 1 : 11 + n % 7) {
        struct at_inverted o;
        struct at_invert_params p = how(2, 1);
        p.sample.steps = 1;
        p.sample.count = 1;
        at_alloc_fail_at(n, false);
        bool ok = at_invert(model, &p, &o), failed = at_alloc_failed();
        at_alloc_fail_at(0, false);
        if (!AT_CHECK(ok || (failed && !o.noise && capture.log.error != AT_ERROR_NONE)))
            printf("allocation %zu: ok %d, failed %d: %s\n", n, ok, failed, capture.text);
        at_inverted_finish(&o);
        capture_start(&capture);
        if (!failed)
            break;
        tried++;
    }
    printf("%zu allocations failed\n", tried);
    AT_CHECK(tried > 50);
}

// Two text encoders, sizes, zeros for no negative prompt: all of it is told on both ways, as diffusers' SDXL is told it.
static void as_diffusers_inverts_sdxl(void)
{
    static const struct at_sample_item bare[2] = {{.prompt = "a red ball"}, {.prompt = "a blue box"}};
    static const struct {
        const char *name, *solved;
        enum at_prediction prediction;
        double cfg;
    } cases[] = {{"xl.epsilon.noise", "xl.epsilon.solved", AT_PREDICTION_EPSILON, 1},
                 {"xl.v.noise", "xl.v.solved", AT_PREDICTION_V, 1},
                 {"xl.guided.noise", NULL, AT_PREDICTION_EPSILON, 4}};
    struct at_model *tiny = model;
    if (!AT_CHECK(model = at_model_open(dev, &(struct at_model_params){.path = tiny_path("../pipes/xl")}, &capture.log)))
        printf("%s\n", capture.text);
    for (size_t i = 0; model && i < sizeof(cases) / sizeof(*cases); i++) {
        struct at_invert_params p = how(cases[i].cfg, 0);
        struct at_inverted plain, solved;
        p.sample.items = bare;
        p.sample.width = p.sample.height = TINY_SIDE;
        model->schedule->config.set_alpha_to_one = false; // as in the file of the real one
        set_schedule(cases[i].prediction, AT_SPACING_LEADING);
        if (!AT_CHECK(at_invert(model, &p, &plain)))
            continue;
        double noise = off(cases[i].name, plain.noise), after = 0;
        AT_CHECK(off("xl.encoded", plain.latents) < tolerance);
        p.rounds = 4;
        if (cases[i].solved && AT_CHECK(at_invert(model, &p, &solved))) {
            after = off(cases[i].solved, solved.noise);
            at_inverted_finish(&solved);
        }
        printf("%s differs by %.1e, solved by %.1e\n", cases[i].name, noise, after);
        AT_CHECK(noise < tolerance && after < tolerance);
        at_inverted_finish(&plain);
    }
    at_model_destroy(&model);
    model = tiny;
}

int main(int argc, char **argv)
{
    bool vulkan = argc > 1 && strcmp(argv[1], "--vulkan") == 0;
    struct at_log *log = capture_start(&capture);
    dev = vulkan ? at_vulkan_open(&(struct at_vulkan_params){0}, log) : tiny_device(log, 2);
    if (!dev)
        return AT_SKIP;
    tolerance = vulkan ? 1e-3 : 1e-4;
    model = at_model_open(dev, &(struct at_model_params){.path = tiny_path("model")}, &capture.log);
    io = at_safetensors_open(&capture.log, tiny_path("invert.safetensors"));
    if (AT_CHECK(model && io)) {
        read_pictures();
        AT_RUN(as_diffusers_inverts);
        AT_RUN(as_diffusers_inverts_sdxl);
        AT_RUN(errors_are_of_the_way_back);
        AT_RUN(seeds_of_torch);
    }
    if (model && io && !vulkan) { // these hang on no device
        AT_RUN(batches_do_not_matter);
        AT_RUN(enough_rounds_lead_all_the_way_back);
        AT_RUN(what_cannot_be_is_refused);
        AT_RUN(memory_runs_out);
    }
    at_safetensors_destroy(&io);
    at_model_destroy(&model);
    tiny_close(&dev);
    return at_test_end();
}
