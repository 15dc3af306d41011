// SPDX-License-Identifier: Apache-2.0
// Whole pipelines against diffusers (tests/golden/make_pipelines.py): SDXL, latent consistency models, SD 2.x, and
// every sampler on SD 1.x; texts, pictures, and a Diffusion-DPO gradient. Argument: --cpu or --vulkan.
#include "core/io/safetensors.h"
#include "core/ops/build.h"
#include "core/vulkan/executor.h"
#include "pipelines/model/text.h"
#include "pipelines/train/dpo_network.h"
#include "tests/pipeline/pipes.h"

#define HEIGHT 24
#define WIDTH 16
#define LATENT (HEIGHT / 2 * WIDTH / 2 * 4)
#define PIXELS (HEIGHT * WIDTH * 3)
#define MOST 8192

static struct capture capture;
static struct at_device *dev;
static struct at_safetensors *io;
static double tolerance; // relative; of gradients ten times as much. Measured: 3e-6, gradients 2e-5

// A tensor as it is, or (N,C,H,W) as (N,H,W,C); the largest magnitude.
static double read_golden(const char *name, float *out)
{
    static float plain[MOST];
    const struct at_st_tensor *t = at_safetensors_find(io, name);
    double most = 0;
    if (!AT_CHECK(t && t->elements <= MOST && at_safetensors_to_f32(io, t, plain))) {
        printf("%s is not in the golden file\n", name);
        return 1;
    }
    bool image = t->rank == 4;
    size_t n = image ? (size_t)t->shape[0] : 1, c = image ? (size_t)t->shape[1] : 1, area = t->elements / n / c;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < c; k++)
            for (size_t p = 0; p < area; p++) {
                out[(i * area + p) * c + k] = plain[(i * c + k) * area + p];
                most = fmax(most, fabs((double)plain[(i * c + k) * area + p]));
            }
    return most;
}

// Relative to the largest value.
static void is_close(const char *name, const float *got, size_t n)
{
    static float want[MOST];
    double most = read_golden(name, want), error = tiny_distance(got, want, n) / most;
    printf("%s: %.1e\n", name, error);
    AT_CHECK(error <= tolerance);
}

static struct at_model *open_model(const char *name)
{
    char path[256];
    pipes_folder(name, path, sizeof(path));
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = path}, &capture.log);
    if (!AT_CHECK(m))
        printf("%s\n", capture.text);
    return m;
}

// --- pictures -------------------------------------------------------------------------------------------------------

struct run {
    const char *model, *name;
    struct at_sample_params p;
    const char *negative;
};

static const struct run runs[] = {
    {"xl", "zeros", {.sampler = AT_SAMPLER_CONFIG, .steps = 4, .cfg = 5}, NULL},
    {"xl", "empty", {.sampler = AT_SAMPLER_EULER, .steps = 3, .cfg = 5}, ""},
    {"xl", "negative", {.sampler = AT_SAMPLER_DPMPP_2M, .steps = 4, .cfg = 7.5}, "a dull cat"},
    {"xl", "plain", {.sampler = AT_SAMPLER_DDIM, .steps = 3, .cfg = 1}, NULL},
    {"xl", "sizes",
     {.sampler = AT_SAMPLER_EULER, .steps = 2, .cfg = 5, .original_height = 100, .original_width = 50, .crop_top = 3,
      .crop_left = 7}, NULL},
    {"xl", "skip", {.sampler = AT_SAMPLER_DDIM, .steps = 2, .cfg = 5, .clip_skip = 1}, "a dull cat"},
    {"xl", "euler_a", {.sampler = AT_SAMPLER_EULER_ANCESTRAL, .steps = 3, .cfg = 5}, NULL},
    {"xl", "karras", {.sampler = AT_SAMPLER_DPMPP_2M, .steps = 5, .cfg = 5, .karras = true}, NULL},
    {"lcm_xl", "lcm", {.sampler = AT_SAMPLER_CONFIG, .steps = 3, .cfg = 7}, NULL},
    {"lcm_xl", "euler", {.sampler = AT_SAMPLER_EULER, .steps = 2, .cfg = 1}, NULL},
    {"lcm", "lcm", {.sampler = AT_SAMPLER_CONFIG, .steps = 4, .cfg = 8.5}, NULL},
    {"lcm", "one", {.sampler = AT_SAMPLER_LCM, .steps = 1, .cfg = 1}, NULL},
    {"sd2", "ddim", {.sampler = AT_SAMPLER_CONFIG, .steps = 4, .cfg = 6}, NULL},
    {"sd2", "euler", {.sampler = AT_SAMPLER_EULER, .steps = 3, .cfg = 6}, "a dull cat"},
    {"sd2", "dpmpp_2m", {.sampler = AT_SAMPLER_DPMPP_2M, .steps = 4, .cfg = 6}, NULL},
    {"sd2", "ddpm", {.sampler = AT_SAMPLER_DDPM, .steps = 3, .cfg = 6}, NULL},
    {"sd15", "ddim", {.sampler = AT_SAMPLER_CONFIG, .steps = 4, .cfg = 7.5}, NULL},
    {"sd15", "eta", {.sampler = AT_SAMPLER_DDIM, .steps = 3, .cfg = 7.5, .eta = 0.7}, NULL},
    {"sd15", "ddpm", {.sampler = AT_SAMPLER_DDPM, .steps = 3, .cfg = 7.5}, NULL},
    {"sd15", "euler", {.sampler = AT_SAMPLER_EULER, .steps = 4, .cfg = 7.5}, NULL},
    {"sd15", "euler_karras", {.sampler = AT_SAMPLER_EULER, .steps = 4, .cfg = 7.5, .karras = true}, NULL},
    {"sd15", "euler_a", {.sampler = AT_SAMPLER_EULER_ANCESTRAL, .steps = 4, .cfg = 7.5}, NULL},
    {"sd15", "dpmpp_2m", {.sampler = AT_SAMPLER_DPMPP_2M, .steps = 4, .cfg = 7.5}, NULL},
    {"sd15", "dpmpp_2m_karras", {.sampler = AT_SAMPLER_DPMPP_2M, .steps = 4, .cfg = 7.5, .karras = true}, NULL},
    {"sd15", "lcm", {.sampler = AT_SAMPLER_LCM, .steps = 4, .cfg = 7.5}, NULL},
    {"sd15", "skip", {.sampler = AT_SAMPLER_DDIM, .steps = 2, .cfg = 7.5, .clip_skip = 1}, "a dull cat"},
};

static bool draw(struct at_model *m, const struct run *run, float *pixels, float *latents)
{
    const struct at_sample_item items[] = {{"a red kite", run->negative, 11}, {"two blue cups", run->negative, 12}};
    struct at_sample_params p = run->p;
    p.items = items;
    p.count = 2;
    p.height = HEIGHT;
    p.width = WIDTH;
    return at_sample(m, &p, pixels, latents);
}

static void as_diffusers_draws(void)
{
    static float pixels[2 * PIXELS], latents[2 * LATENT];
    char name[64];
    struct at_model *m = NULL;
    for (size_t i = 0; i < sizeof(runs) / sizeof(*runs); i++) {
        bool first = i == 0 || strcmp(runs[i].model, runs[i - 1].model) != 0;
        if (first) {
            at_model_destroy(&m);
            m = open_model(runs[i].model);
        }
        if (!m || !AT_CHECK(draw(m, &runs[i], pixels, latents)))
            continue;
        snprintf(name, sizeof(name), "%s.%s", runs[i].model, runs[i].name);
        is_close(name, latents, 2 * LATENT);
        snprintf(name, sizeof(name), "%s.%s.pixels", runs[i].model, runs[i].name);
        if (first)
            is_close(name, pixels, 2 * PIXELS);
    }
    at_model_destroy(&m);
}

// Files of 2022, as diffusers' pipeline of Stable Diffusion reads them.
static void old_files_are_corrected(void)
{
    char folder[512], path[1400];
    struct at_model *m;
    pipes_folder("sd2", folder, sizeof(folder));
    snprintf(path, sizeof(path), "sed -i 's/\"_diffusers_version\": \"[^\"]*/\"_diffusers_version\": \"0.2.2/' '%s/unet/config.json' && "
             "echo '{\"_class_name\": \"DDIMScheduler\"}' > '%s/scheduler/scheduler_config.json'", folder, folder);
    AT_CHECK(system(path) == 0);
    m = at_model_open(dev, &(struct at_model_params){.path = folder, .check = true}, &capture.log);
    AT_CHECK(m && !m->schedule->config.clip_sample);
    AT_CHECK(m && m->schedule->config.steps_offset == 1 && m->unet.sample_size == 64);
    at_model_destroy(&m);
    AT_CHECK(at_path_remove(NULL, folder));
}

// What the golden runs depend on: one run with one thing changed each.
static void everything_matters(void)
{
    static float pixels[2 * PIXELS], latents[2][2 * LATENT];
    const struct {
        const char *model, *what;
        struct run a, b;
    } pairs[] = {
        {"xl", "no or an empty prompt", {.p = {.steps = 2, .cfg = 5}}, {.p = {.steps = 2, .cfg = 5}, .negative = ""}},
        {"xl", "the original size", {.p = {.steps = 2, .cfg = 5}}, {.p = {.steps = 2, .cfg = 5, .original_width = 99}}},
        {"xl", "where it was cut", {.p = {.steps = 2, .cfg = 5}}, {.p = {.steps = 2, .cfg = 5, .crop_top = 9}}},
        {"xl", "clip skip", {.p = {.steps = 2, .cfg = 5}}, {.p = {.steps = 2, .cfg = 5, .clip_skip = 1}}},
        {"lcm", "guidance", {.p = {.steps = 2, .cfg = 8.5}}, {.p = {.steps = 2, .cfg = 7.5}}},
    };
    struct at_model *m = NULL;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        if (i == 0 || strcmp(pairs[i].model, pairs[i - 1].model) != 0) {
            at_model_destroy(&m);
            m = open_model(pairs[i].model);
        }
        if (!m || !AT_CHECK(draw(m, &pairs[i].a, pixels, latents[0]) && draw(m, &pairs[i].b, pixels, latents[1])))
            continue;
        double d = tiny_distance(latents[0], latents[1], 2 * LATENT);
        printf("%s moves latents by %.1e\n", pairs[i].what, d);
        AT_CHECK(d > 1e-2);
    }
    at_model_destroy(&m);
}

// An adapter of the denoiser and one of both text encoders, each with its strength.
static void adapters(void)
{
    static float pixels[2 * PIXELS], latents[2 * LATENT];
    struct at_model *m = open_model("xl");
    struct at_lora *loras[2] = {NULL, NULL};
    if (m) {
        loras[0] = at_lora_open(m, pipes_path("lora/pytorch_lora_weights.safetensors"), 0.8f);
        loras[1] = at_lora_open(m, pipes_path("lora_text/pytorch_lora_weights.safetensors"), 0.6f);
    }
    struct run run = {.p = {.steps = 3, .cfg = 5, .loras = loras, .lora_count = 2}};
    if (AT_CHECK(loras[0] && loras[1] && draw(m, &run, pixels, latents)))
        is_close("adapted", latents, 2 * LATENT);
    else
        printf("%s\n", capture.text);
    at_lora_destroy(&loras[0]);
    at_lora_destroy(&loras[1]);
    at_model_destroy(&m);
}

// --- texts ----------------------------------------------------------------------------------------------------------

#define TOKENS 16
#define LONGER "a red kite over two blue cups and a dull cat beside a green box in the wind of a late summer afternoon"
static const char *const prompts[] = {"a red kite", "", LONGER, "!!"};

static void as_diffusers_reads(void)
{
    static float rows[4 * 1024], hidden[4 * 1024], pooled[4 * 64];
    struct at_model *m = open_model("xl");
    for (int skip = 0; m && skip < 2; skip++) {
        char name[32];
        size_t floats = at_text_floats(m), width = 16 + 12;
        AT_CHECK_INT((long long)floats, TOKENS * 28 + 10);
        AT_CHECK_INT(at_text_ids(m), 2 * TOKENS + 1);
        AT_CHECK(at_text_embed(m, prompts, 4, &(struct at_text_params){.clip_skip = skip}, rows));
        AT_CHECK(strstr(capture.text, "left out") != NULL);
        for (size_t i = 0; i < 4; i++) {
            memcpy(hidden + i * TOKENS * width, rows + i * floats, TOKENS * width * sizeof(float));
            memcpy(pooled + i * 10, rows + i * floats + TOKENS * width, 10 * sizeof(float));
        }
        snprintf(name, sizeof(name), "text.%d.hidden", skip);
        is_close(name, hidden, 4 * TOKENS * width);
        snprintf(name, sizeof(name), "text.%d.pooled", skip);
        is_close(name, pooled, 4 * 10);
    }
    at_model_destroy(&m);
    static const char *const others[] = {"sd2", "sd15"};
    for (int i = 0; i < 4; i++) {
        char name[32];
        m = open_model(others[i / 2]);
        AT_CHECK(m && at_text_embed(m, prompts, 4, &(struct at_text_params){.clip_skip = i % 2}, rows));
        snprintf(name, sizeof(name), "text.%s.%d", others[i / 2], i % 2);
        is_close(name, rows, 4 * TOKENS * 16);
        at_model_destroy(&m);
    }
}

static void no_prompt_is_zeros_where_the_model_says_so(void)
{
    static float rows[1024];
    struct at_model *m = open_model("xl");
    AT_CHECK(m && at_text_embed(m, (const char *[]){NULL}, 1, NULL, rows));
    for (size_t i = 0; m && i < at_text_floats(m); i++)
        AT_CHECK_NEAR((double)rows[i], 0, 0);
    if (m)
        m->zero_empty = false;
    AT_CHECK(m && at_text_embed(m, (const char *[]){NULL}, 1, NULL, rows));
    AT_CHECK(rows[0] != 0);
    at_model_destroy(&m);
}

// --- training -------------------------------------------------------------------------------------------------------

#define PAIRS 3
#define SIDE 8
#define BETA 100

struct dpo {
    struct at_model *m;
    struct at_lora *lora;
    struct at_captions *captions;
    struct at_dpo_network *network;
};

static void open_dpo(struct dpo *d, int at_once)
{
    d->m = open_model("xl");
    struct at_lora_params lp = {.rank = 2, .alpha = 4, .replicas = at_spread_replicas(dev, at_once)};
    const char *path = pipes_path("lora/pytorch_lora_weights.safetensors");
    struct at_safetensors *file = at_safetensors_open(&capture.log, path);
    d->lora = d->m ? at_lora_create(d->m, &lp) : NULL;
    d->captions = d->m ? at_captions_create(d->m, &(struct at_captions_params){.items = 2 * PAIRS}) : NULL;
    if (AT_CHECK(file && d->lora && d->captions && at_params_load(d->lora->part[AT_COMPONENT_UNET].params, file, "unet.", NULL))) {
        struct at_dpo_network_params p = {.dev = dev, .m = d->m, .adapter = &d->lora->part[AT_COMPONENT_UNET],
                                          .captions = d->captions, .side = SIDE, .items = 2 * PAIRS, .at_once = at_once};
        d->network = at_dpo_network_create(&p, &capture.log);
    }
    AT_CHECK(d->network);
    at_safetensors_destroy(&file);
}

// The prompts with the sizes of each pair, winners and losers alike.
static void tell(struct dpo *d)
{
    static const char *const texts[PAIRS] = {"a red kite", "two blue cups", ""};
    static const struct at_sizes sizes[PAIRS] = {
        {24, 16, 0, 0, 16, 16}, {100, 50, 9, 0, 16, 16}, {16, 64, 0, 24, 16, 16}};
    int32_t number[PAIRS];
    for (int i = 0; i < PAIRS; i++)
        AT_CHECK(at_captions_add(d->captions, texts[i], &number[i]));
    AT_CHECK_INT(number[2], AT_CAPTION_EMPTY);
    if (AT_CHECK(at_captions_encode(d->captions, NULL)))
        for (int i = 0; i < 2 * PAIRS; i++)
            at_captions_put(d->captions, i, number[i % PAIRS], &sizes[i % PAIRS]);
}

static void compare_gradients(const struct dpo *d)
{
    const struct at_params *params = d->lora->part[AT_COMPONENT_UNET].params;
    double worst = 0;
    for (int i = 0; i < params->count; i++) {
        static float want[MOST], one[MOST];
        float sum[MOST] = {0};
        char name[256];
        const struct at_param *p = &params->list[i];
        size_t n = (size_t)at_shape_count(p->shape);
        for (int r = 0; r < AT_REPLICAS && params->pieces[p->piece].grad[r]; r++) {
            AT_CHECK(at_param_read_gradient(params, p, r, one));
            for (size_t k = 0; k < n; k++)
                sum[k] += one[k];
        }
        snprintf(name, sizeof(name), "dpo.grad.unet.%s", p->name);
        double most = read_golden(name, want);
        double error = tiny_distance(sum, want, n) / most;
        worst = fmax(worst, error);
        if (!AT_CHECK(error <= 10 * tolerance))
            printf("%s: %.1e\n", name, error);
    }
    printf("%d gradients: %.1e at most\n", params->count, worst);
}

static void dpo_of_sdxl(int at_once)
{
    static float x[2 * PAIRS * SIDE * SIDE * 4], target[2 * PAIRS * SIDE * SIDE * 4], t[2 * PAIRS];
    float m[2][2 * PAIRS], seeds[2 * PAIRS];
    double error[2][2 * PAIRS], dm[2 * PAIRS];
    struct dpo d = {0};
    open_dpo(&d, at_once);
    if (d.network) {
        tell(&d);
        read_golden("dpo.x", x);
        read_golden("dpo.target", target);
        const struct at_st_tensor *steps = at_safetensors_find(io, "dpo.t");
        for (int i = 0; AT_CHECK(steps) && i < 2 * PAIRS; i++)
            t[i] = (float)((const int32_t *)steps->data)[i];
        struct at_dpo_batch in = {.x = x, .target = target, .t = t};
        AT_CHECK(at_dpo_network_run(d.network, &in, m[1], m[0]));
        is_close("dpo.r", m[0], 2 * PAIRS);
        is_close("dpo.m", m[1], 2 * PAIRS);
        for (int i = 0; i < 2 * PAIRS; i++) {
            error[0][i] = (double)m[0][i];
            error[1][i] = (double)m[1][i];
        }
        struct at_objective_params objective = {.method = AT_OBJECTIVE_DPO, .beta = BETA};
        struct at_objective_batch batch = {.pairs = PAIRS, .policy = error[1], .reference = error[0]};
        struct at_objective_result result;
        AT_CHECK(at_objective_evaluate(&objective, &batch, dm, &result, NULL, &capture.log));
        float loss = (float)result.loss;
        is_close("dpo.loss", &loss, 1);
        for (int i = 0; i < 2 * PAIRS; i++)
            seeds[i] = (float)dm[i];
        AT_CHECK(at_dpo_network_backward(d.network, &in, seeds));
        compare_gradients(&d);
    }
    at_dpo_network_destroy(&d.network);
    at_lora_destroy(&d.lora);
    at_model_destroy(&d.m);
    at_captions_destroy(&d.captions);
}

static void dpo_at_once(void)
{
    dpo_of_sdxl(2 * PAIRS);
}

// Most of the batch runs again for its gradient.
static void dpo_bit_by_bit(void)
{
    dpo_of_sdxl(2);
    dpo_of_sdxl(1);
}

int main(int argc, char **argv)
{
    bool vulkan = argc > 1 && strcmp(argv[1], "--vulkan") == 0;
    struct at_log *log = capture_start(&capture);
    scratch_make();
    dev = vulkan ? at_vulkan_open(&(struct at_vulkan_params){0}, log) : tiny_device(log, 2);
    if (!dev)
        return AT_SKIP;
    tolerance = vulkan ? 1e-4 : 1e-5;
    io = at_safetensors_open(log, pipes_path("io.safetensors"));
    if (AT_CHECK(io)) {
        AT_RUN(as_diffusers_reads);
        AT_RUN(no_prompt_is_zeros_where_the_model_says_so);
        AT_RUN(as_diffusers_draws);
        AT_RUN(old_files_are_corrected);
        AT_RUN(adapters);
        AT_RUN(everything_matters);
        AT_RUN(dpo_at_once);
        AT_RUN(dpo_bit_by_bit);
    }
    at_safetensors_destroy(&io);
    tiny_close(&dev);
    scratch_remove();
    return at_test_end();
}
