// SPDX-License-Identifier: Apache-2.0
// Adapters of UNet and text encoders in training, against peft and torch (tests/golden/make_train.py), of SD 1.x and
// SDXL in small. Argument: --cpu or --vulkan.
#include "core/vulkan/executor.h"
#include "pipelines/train/dpo_network.h"
#include "pipelines/train/network.h"
#include "tests/pipeline/pipes.h"

#define SIDE 8
#define PAIRS 2
#define PIXELS (2 * PAIRS * SIDE * SIDE * 4)
#define MOST 1024 // values of a half

static struct capture capture;
static struct at_device *dev;
static struct at_safetensors *io;
static double tolerance;

static const char *const prompts[PAIRS] = {"a red kite", "two blue cups"};
static const struct at_sizes sizes[PAIRS] = {{24, 16, 0, 0, 16, 16}, {100, 50, 9, 0, 16, 16}};

// One of the two models, its adapter, and its data.
struct job {
    const char *name; // "sd", "xl"
    struct at_model *m;
    struct at_lora *lora;
    struct at_captions *captions;
    float x[PIXELS], target[PIXELS], t[2 * PAIRS];
};

// (N,C,H,W) or anything else of this job as floats, pictures as (N,H,W,C).
static int read_golden(const struct job *j, const char *tail, float *out, int most)
{
    char name[256];
    snprintf(name, sizeof(name), "%s.%s", j->name, tail);
    const struct at_st_tensor *t = at_safetensors_find(io, name);
    static float values[PIXELS];
    if (!t)
        return 0;
    bool fits = t->elements <= PIXELS && (int)t->elements <= most;
    for (int i = 0; fits && t->dtype == AT_ST_I32 && i < (int)t->elements; i++)
        values[i] = (float)((const int32_t *)t->data)[i];
    if (!AT_CHECK(fits && (t->dtype == AT_ST_I32 || at_safetensors_to_f32(io, t, values))))
        return 0;
    int n = (int)t->elements, c = t->rank == 4 ? (int)t->shape[1] : 1, area = t->rank == 4 ? SIDE * SIDE : n;
    for (int i = 0; i < n; i++)
        out[i / (c * area) * c * area + i % area * c + i / area % c] = values[i];
    return n;
}

static bool open_job(struct job *j, const char *name, int items, int at_once)
{
    static char path[256];
    *j = (struct job){.name = name};
    pipes_folder("xl", path, sizeof(path));
    struct at_model_params mp = {.path = name[0] == 'x' ? path : tiny_path("model")};
    const char *dir = getenv("AT_TEST_DATA");
    char *file = at_strf("%s/train/%s", dir ? dir : "tests/data", name);
    struct at_lora_params lp = {.file = file, .text = true, .replicas = at_spread_replicas(dev, at_once)};
    struct at_captions_params cp = {.items = items, .in_graph = true};
    bool ok = (j->m = at_model_open(dev, &mp, &capture.log)) && (j->lora = at_lora_create(j->m, &lp));
    if (ok)
        at_lora_adapt_texts(j->m, &j->lora, 1);
    ok = ok && (j->captions = at_captions_create(j->m, &cp));
    for (int i = 0; ok && i < items; i++) {
        int32_t number;
        ok = at_captions_add(j->captions, prompts[i % PAIRS], &number);
        at_captions_put(j->captions, i, number, &sizes[i % PAIRS]);
    }
    ok = ok && read_golden(j, "x", j->x, PIXELS) && read_golden(j, "target", j->target, PIXELS) &&
         read_golden(j, "t", j->t, 2 * PAIRS);
    at_free(file);
    return AT_CHECK(ok);
}

static void close_job(struct job *j)
{
    at_captions_destroy(&j->captions);
    at_lora_destroy(&j->lora);
    at_model_destroy(&j->m);
}

static void sum_gradients(const struct at_params *set, const struct at_param *p, float sum[MOST])
{
    static float one[MOST];
    memset(sum, 0, MOST * sizeof(float));
    for (int r = 0; r < AT_REPLICAS && set->pieces[p->piece].grad[r]; r++) {
        AT_CHECK(at_param_read_gradient(set, p, r, one));
        for (int64_t k = 0; k < at_shape_count(p->shape); k++)
            sum[k] += one[k];
    }
}

// Every half's gradient. SDXL does not read the last layer of its first text encoder: there it is 0.
static void compare_gradients(const struct job *j, const char *what)
{
    static float got[MOST], want[MOST];
    double worst = 0;
    int count = 0, unread = 0;
    for (int c = 0; c < AT_COMPONENTS; c++) {
        const struct at_params *set = j->lora->part[c].params;
        for (int i = 0; set && i < set->count; i++, count++) {
            const struct at_param *p = &set->list[i];
            char name[256];
            snprintf(name, sizeof(name), "%s.%s.%s", what, at_component_name((enum at_component)c), p->name);
            memset(want, 0, sizeof(want));
            int n = read_golden(j, name, want, MOST);
            sum_gradients(set, p, got);
            double most = 0;
            for (int k = 0; k < n; k++)
                most = fmax(most, fabs((double)want[k]));
            unread += n == 0;
            double error = tiny_distance(got, want, (size_t)at_shape_count(p->shape)) / (n ? most : 1);
            worst = fmax(worst, error);
            if (!AT_CHECK(error <= tolerance))
                printf("%s: %.1e\n", name, error);
        }
    }
    AT_CHECK_INT(unread, strcmp(j->name, "xl") == 0 ? 8 : 0);
    AT_CHECK(count > unread);
    printf("%s: %d gradients %s: %.1e at most\n", j->name, count, what, worst);
}

// The mean of the errors of the first PAIRS items, and its gradient.
static double denoise(struct job *j, struct at_spread *spread)
{
    float m[PAIRS] = {0}, seeds[PAIRS];
    const void *in[AT_PORTS] = {j->x, j->t, j->target};
    at_captions_ports(j->captions, in + 3);
    double loss = 0;
    bool ok = at_spread_run(spread, PAIRS, in, (void *[]){m});
    for (int i = 0; i < PAIRS; i++) {
        loss += (double)m[i] / PAIRS;
        seeds[i] = 1.0f / PAIRS;
    }
    AT_CHECK(ok && at_spread_backward(spread, in, (const void *[]){seeds}));
    return loss;
}

// Three steps of AdamW, the text encoders at a rate of their own.
static void three_steps(struct job *j, struct at_spread *spread, double first)
{
    struct at_optimizer_params p = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 1e-2,
                                    .rates = {1, 2e-3 / 5e-3, 2e-3 / 5e-3}};
    struct at_params *sets[AT_COMPONENTS];
    const char *names[AT_COMPONENTS];
    int count = at_lora_sets(j->lora, sets, names);
    struct at_optimizer *o = at_optimizer_create(sets, count, &p, &capture.log);
    float want[4];
    AT_CHECK_INT(read_golden(j, "losses", want, 4), 4);
    AT_CHECK_NEAR(first, (double)want[0], tolerance * (double)want[0]);
    for (int step = 1; step < 4 && AT_CHECK(o); step++) {
        AT_CHECK(at_optimizer_step(o, step, 5e-3, 1, NULL));
        double loss = denoise(j, spread);
        printf("%s: loss after %d steps %.7f, off by %.1e\n", j->name, step, loss, fabs(loss / (double)want[step] - 1));
        AT_CHECK_NEAR(loss, (double)want[step], tolerance * (double)want[step]);
    }
    at_optimizer_destroy(&o);
}

static void plain_training(void)
{
    for (int two = 0; two < 2; two++) {
        struct job j;
        if (open_job(&j, two ? "xl" : "sd", PAIRS, PAIRS)) {
            struct at_network network = {j.m, j.captions, &j.lora->part[AT_COMPONENT_UNET], SIDE};
            struct at_spread_params sp = {.dev = dev, .items = PAIRS, .build = at_network_build, .priv = &network,
                                          .gradient = true};
            struct at_spread *spread = at_spread_create(&sp, &capture.log);
            if (AT_CHECK(spread)) {
                double first = denoise(&j, spread);
                compare_gradients(&j, "grad");
                three_steps(&j, spread, first);
            }
            at_spread_destroy(&spread);
        } else
            printf("%s\n", capture.text);
        close_job(&j);
    }
}

// Errors of policy and reference, the loss, and its gradient; all at once, or a pair's pictures apart.
static void preferences(void)
{
    for (int k = 0; k < 4; k++) {
        bool two = k > 1, apart = k % 2;
        int at_once = apart ? PAIRS : 2 * PAIRS;
        struct job j;
        float m[2][2 * PAIRS], want[2 * PAIRS], seeds[2 * PAIRS];
        double error[2][2 * PAIRS], dm[2 * PAIRS];
        if (open_job(&j, two ? "xl" : "sd", 2 * PAIRS, at_once)) {
            struct at_dpo_network_params p = {.dev = dev, .m = j.m, .adapter = &j.lora->part[AT_COMPONENT_UNET],
                                              .captions = j.captions, .side = SIDE, .items = 2 * PAIRS,
                                              .at_once = at_once};
            struct at_dpo_network *network = at_dpo_network_create(&p, &capture.log);
            struct at_dpo_batch in = {.x = j.x, .target = j.target, .t = j.t};
            AT_CHECK(network && at_dpo_network_run(network, &in, m[1], m[0]));
            for (int side = 0; side < 2; side++) {
                AT_CHECK_INT(read_golden(&j, side ? "m" : "r", want, 2 * PAIRS), 2 * PAIRS);
                AT_CHECK(tiny_distance(m[side], want, 2 * PAIRS) < tolerance);
                for (int i = 0; i < 2 * PAIRS; i++)
                    error[side][i] = (double)m[side][i];
            }
            struct at_objective_params objective = {.method = AT_OBJECTIVE_DPO, .beta = 100};
            struct at_objective_batch batch = {.pairs = PAIRS, .policy = error[1], .reference = error[0]};
            struct at_objective_result r;
            AT_CHECK(at_objective_evaluate(&objective, &batch, dm, &r, NULL, &capture.log));
            AT_CHECK_INT(read_golden(&j, "loss", want, 1), 1);
            printf("%s: loss %.6f, off by %.1e\n", j.name, r.loss, fabs(r.loss / (double)want[0] - 1));
            AT_CHECK_NEAR(r.loss, (double)want[0], tolerance * (double)want[0]);
            for (int i = 0; i < 2 * PAIRS; i++)
                seeds[i] = (float)dm[i];
            AT_CHECK(at_dpo_network_backward(network, &in, seeds));
            compare_gradients(&j, "dpo");
            at_dpo_network_destroy(&network);
        }
        close_job(&j);
    }
}

int main(int argc, char **argv)
{
    bool vulkan = argc > 1 && strcmp(argv[1], "--vulkan") == 0;
    struct at_log *log = capture_start(&capture);
    scratch_make();
    dev = vulkan ? at_vulkan_open(&(struct at_vulkan_params){0}, log) : tiny_device(log, 2);
    if (!dev)
        return AT_SKIP;
    tolerance = vulkan ? 1e-3 : 1e-4;
    const char *dir = getenv("AT_TEST_DATA");
    char *path = at_strf("%s/train/io.safetensors", dir ? dir : "tests/data");
    io = at_safetensors_open(log, path);
    if (AT_CHECK(io)) {
        AT_RUN(plain_training);
        AT_RUN(preferences);
    }
    at_free(path);
    at_safetensors_destroy(&io);
    at_device_close(&dev);
    scratch_remove();
    return at_test_end();
}
