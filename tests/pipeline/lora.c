// SPDX-License-Identifier: Apache-2.0
// Training adapters: of SD 1.x and of SDXL in small, from pictures. Argument: --cpu or --vulkan.
#include "core/vulkan/executor.h"
#include "pipelines/lora/lora_diff.h"
#include "tests/pipeline/pipes.h"

static struct capture capture;
static struct at_device *dev;
static char xl[256];

static struct at_train_base_params base(const char *run, bool two, int64_t steps)
{
    struct at_train_base_params p = {.train = tiny_train(run, steps), .model = two ? xl : tiny_path("model"),
                                     .adapter = true, .lora = {.rank = 2}, .caption_dropout = 0.3,
                                     .data = {.imagefolder = tiny_path("pictures"), .size = 16}};
    return p;
}

static bool train(const struct at_train_base_params *p)
{
    bool ok = at_train_base(dev, p, capture_start(&capture));
    if (!ok)
        printf("%s\n", capture.text);
    return ok;
}

static char *weights(const char *run, char path[320])
{
    snprintf(path, 320, "%s/pytorch_lora_weights.safetensors", run);
    return path;
}

// The largest relative difference of a layer; -1: the files have other layers.
static double distance(const char *a, const char *b)
{
    struct at_lora_data_params p = {0};
    struct at_lora_data *x = at_lora_data_open(&capture.log, a, &p), *y = at_lora_data_open(&capture.log, b, &p);
    double worst = x && y && x->count == y->count ? 0 : -1;
    for (int i = 0; worst >= 0 && i < x->count; i++) {
        struct at_lora_distance d;
        bool ok = strcmp(x->list[i].id, y->list[i].id) == 0 && x->list[i].rank == y->list[i].rank &&
                  at_lora_layer_distance(x, &x->list[i], y, &y->list[i], &d);
        worst = ok ? fmax(worst, d.relative) : -1;
    }
    at_lora_data_destroy(&x);
    at_lora_data_destroy(&y);
    return worst;
}

// Running on is the same as not having stopped, bit for bit; and what is learned is of use.
static void from_pictures(void)
{
    for (int two = 0; two < 2; two++) {
        char run[256], again[256], a[320], b[320];
        snprintf(run, sizeof(run), "%s", scratch_path(two ? "xl-run" : "run"));
        snprintf(again, sizeof(again), "%s", scratch_path(two ? "xl-again" : "again"));
        struct at_train_base_params p = base(run, two, 3);
        p.train.optimizer.ema = 0.5;
        if (!AT_CHECK(train(&p)))
            continue;
        p.train.run = again;
        p.train.steps = 2;
        AT_CHECK(train(&p));
        p.train.steps = 3;
        p.train.resume = true;
        AT_CHECK(train(&p));
        AT_CHECK(tiny_same_files(weights(run, a), weights(again, b)));
        AT_CHECK(tiny_same_metrics(run, again));
        struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = p.model}, &capture.log);
        struct at_lora *lora = m ? at_lora_open(m, run, 1) : NULL;
        AT_CHECK(lora && lora->part[AT_COMPONENT_UNET].count > 0 && !at_lora_has_text(lora));
        at_lora_destroy(&lora);
        at_model_destroy(&m);
    }
}

static void an_adapter_learns(void)
{
    struct at_train_base_params p = base(scratch_path("learns"), false, 40);
    p.train.lr = 2e-2;
    p.caption_dropout = 0;
    double first = 0, last = 0;
    if (!AT_CHECK(train(&p)))
        return;
    for (int i = 1; i <= 10; i++) {
        first += tiny_metric(p.train.run, i, "loss") / 10;
        last += tiny_metric(p.train.run, 30 + i, "loss") / 10;
    }
    printf("loss %.4f to %.4f\n", first, last);
    AT_CHECK(last < 0.95 * first);
}

// At no rate it stays what it was, and is not what a fresh one is.
static void it_goes_on_from_a_file(void)
{
    char a[320], b[320];
    struct at_train_base_params p = base(scratch_path("on"), false, 1);
    p.lora = (struct at_lora_params){.file = weights(scratch_path("run"), a)};
    p.train.lr = 1e-12;
    p.train.optimizer.weight_decay = 0;
    AT_CHECK(train(&p));
    double d = distance(a, weights(p.train.run, b));
    printf("moved by %.1e\n", d);
    AT_CHECK(d >= 0 && d < 1e-6);
    struct at_train_base_params fresh = base(scratch_path("fresh"), false, 1);
    AT_CHECK(train(&fresh));
    AT_CHECK(fabs(tiny_metric(p.train.run, 1, "loss") - tiny_metric(fresh.train.run, 1, "loss")) > 1e-3);
}

static void refused(const struct at_train_base_params *p, enum at_error kind, const char *part)
{
    AT_CHECK(!at_train_base(dev, p, capture_start(&capture)));
    AT_CHECK_INT(capture.log.error, kind);
    if (!AT_CHECK(strstr(capture.text, part) != NULL))
        printf("message: \"%s\"\n", capture.text);
}

static void slips(void)
{
    struct at_train_base_params p = base(scratch_path("no"), false, 1);
    p.lora.targets = (const char *const[]){"to_q", "to_x", NULL};
    refused(&p, AT_ERROR_USAGE, "no layer of the denoiser ends in 'to_x'; there are ");
    AT_CHECK(strstr(capture.text, "to_out.0, proj") != NULL);
    p = base(scratch_path("no"), false, 1);
    p.lora.targets = (const char *const[]){"q_proj", NULL};
    refused(&p, AT_ERROR_USAGE, "ends in 'q_proj'");
    p = base(scratch_path("no"), true, 1);
    p.lora.file = scratch_path("run"); // of SD 1.x
    refused(&p, AT_ERROR_INPUT, "run/pytorch_lora_weights.safetensors");
    AT_CHECK(!at_dir_exists(scratch_path("no")));
    p = base(scratch_path("run"), false, 4);
    p.train.optimizer.ema = 0.5;
    p.train.resume = true;
    p.lora.rank = 3;
    refused(&p, AT_ERROR_INPUT, "adapter rank and targets that the run began with");
}

int main(int argc, char **argv)
{
    bool vulkan = argc > 1 && strcmp(argv[1], "--vulkan") == 0;
    struct at_log *log = capture_start(&capture);
    scratch_make();
    dev = vulkan ? at_vulkan_open(&(struct at_vulkan_params){0}, log) : tiny_device(log, 2);
    if (!dev)
        return AT_SKIP;
    pipes_folder("xl", xl, sizeof(xl));
    AT_RUN(from_pictures);
    if (!vulkan)
        AT_RUN(an_adapter_learns);
    AT_RUN(it_goes_on_from_a_file);
    AT_RUN(slips);
    at_device_close(&dev);
    scratch_remove();
    return at_test_end();
}
