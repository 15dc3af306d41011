// SPDX-License-Identifier: Apache-2.0
// Training adapters: of SD 1.x and of SDXL in small, from pictures and from pairs. Argument: --cpu or --vulkan.
#include "core/vulkan/executor.h"
#include "pipelines/lora/lora_diff.h"
#include "tests/pipeline/pipes.h"

static struct capture capture;
static struct at_device *dev;
static char xl[256];
static bool brief; // on Vulkan: every graph compiles its kernels anew, so fewer of them

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

// Values of the up halves of a component, zero in a fresh adapter; -1: there are none.
static double moved(const char *run, enum at_component component)
{
    char path[320];
    struct at_lora_data *d = at_lora_data_open(&capture.log, weights(run, path), &(struct at_lora_data_params){0});
    double most = -1;
    static float up[4096];
    for (int i = 0; d && i < d->count; i++)
        if (d->list[i].component == component && AT_CHECK(d->list[i].up->elements <= 4096) &&
            AT_CHECK(at_lora_data_read(d, d->list[i].up, up)))
            for (uint64_t k = 0; k < d->list[i].up->elements; k++)
                most = fmax(most, fabs((double)up[k]));
    at_lora_data_destroy(&d);
    return most;
}

// The first loss is ln 2 to the bit, which the method checks; the text encoders learn; running on is as not having stopped.
static void from_pairs(void)
{
    for (int two = brief; two < 2; two++) {
        char run[240], again[256], a[320], b[320];
        snprintf(run, sizeof(run), "%s", scratch_path(two ? "xl-dpo" : "dpo"));
        snprintf(again, sizeof(again), "%s-again", run);
        struct at_train_dpo_params p = tiny_dpo(run, 3);
        p.model = two ? xl : tiny_path("model");
        p.size = 16;
        p.held_out = 0.3;
        p.lora.text = true;
        p.clip_skip = 1;
        p.train.optimizer.ema = 0.5;
        if (!AT_CHECK(at_train_dpo(dev, &p, capture_start(&capture)))) {
            printf("%s\n", capture.text);
            continue;
        }
        AT_CHECK_NEAR(tiny_metric(run, 1, "loss"), log(2), 1e-8);
        AT_CHECK(fabs(tiny_metric(run, 2, "loss") - log(2)) > 1e-6);
        AT_CHECK(moved(run, AT_COMPONENT_UNET) > 0 && moved(run, AT_COMPONENT_TEXT) > 0);
        AT_CHECK((moved(run, AT_COMPONENT_TEXT_2) > 0) == two);
        p.train.run = again;
        p.train.steps = 2;
        AT_CHECK(at_train_dpo(dev, &p, &capture.log));
        p.train.steps = 3;
        p.train.resume = true;
        AT_CHECK(at_train_dpo(dev, &p, &capture.log));
        AT_CHECK(tiny_same_files(weights(run, a), weights(again, b)));
        AT_CHECK(tiny_same_metrics(run, again));
        // From that adapter on: the reference is still the model without.
        p = tiny_dpo(scratch_path(two ? "xl-dpo-on" : "dpo-on"), 1);
        p.model = two ? xl : tiny_path("model");
        p.size = 16;
        p.lora = (struct at_lora_params){.file = run};
        AT_CHECK(at_train_dpo(dev, &p, &capture.log));
        AT_CHECK(fabs(tiny_metric(p.train.run, 1, "loss") - log(2)) > 1e-6);
        AT_CHECK(moved(p.train.run, AT_COMPONENT_TEXT) > 0);
    }
}

// Running on is the same as not having stopped, bit for bit; and what is learned is of use.
static void from_pictures(void)
{
    static const char *const names[] = {"run", "run-text", "xl-run", "xl-run-text"};
    for (int i = 0; i < 4; i += brief ? 3 : 1) {
        bool two = i > 1, text = i % 2;
        char run[240], again[256], a[320], b[320];
        snprintf(run, sizeof(run), "%s", scratch_path(names[i]));
        snprintf(again, sizeof(again), "%s-again", run);
        struct at_train_base_params p = base(run, two, 3);
        p.lora.text = text;
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
        AT_CHECK(lora && lora->part[AT_COMPONENT_UNET].count > 0 && at_lora_has_text(lora) == text &&
                 (lora->part[AT_COMPONENT_TEXT_2].count > 0) == (text && two));
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

// The first step of AdamW moves a weight by its rate.
static void texts_have_a_rate_of_their_own(void)
{
    struct at_train_base_params p = base(scratch_path("rates"), true, 1);
    p.lora.text = true;
    p.train.text_lr = 1e-4;
    AT_CHECK(train(&p));
    AT_CHECK_NEAR(moved(p.train.run, AT_COMPONENT_UNET), 1e-3, 2e-6);
    AT_CHECK_NEAR(moved(p.train.run, AT_COMPONENT_TEXT), 1e-4, 2e-7);
    AT_CHECK_NEAR(moved(p.train.run, AT_COMPONENT_TEXT_2), 1e-4, 2e-7);
}

// What fits the text encoder alone leaves the denoiser its usual layers, and the other way round.
static void targets(void)
{
    struct at_train_base_params p = base(scratch_path("targets"), false, 1);
    p.lora.text = true;
    p.lora.targets = (const char *const[]){"fc1", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", NULL};
    AT_CHECK(train(&p));
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = p.model}, &capture.log);
    struct at_lora *lora = m ? at_lora_open(m, p.train.run, 1) : NULL;
    if (AT_CHECK(lora)) {
        AT_CHECK_INT(lora->part[AT_COMPONENT_UNET].count, 1);
        AT_CHECK_INT(lora->part[AT_COMPONENT_TEXT].count, 2); // of two layers
    }
    at_lora_destroy(&lora);
    lora = m ? at_lora_create(m, &(struct at_lora_params){.text = true, .targets = (const char *const[]){"fc1", NULL}}) : NULL;
    AT_CHECK(lora && lora->part[AT_COMPONENT_UNET].count > 8 && lora->part[AT_COMPONENT_TEXT].count == 2);
    at_lora_destroy(&lora);
    at_model_destroy(&m);
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
    p.lora.rank = 2;
    p.lora.alpha = 3;
    refused(&p, AT_ERROR_INPUT, "the adapter had other ranks or alphas");
    p.lora.alpha = 0;
    p.lora.text = true;
    refused(&p, AT_ERROR_INPUT, "trained 1 sets of weights, not 2");
    p.adapter = false;
    refused(&p, AT_ERROR_INPUT, "trained 1 sets of weights, not 2");
    p = base(scratch_path("no"), false, 1);
    p.lora = (struct at_lora_params){.file = scratch_path("run"), .text = true};
    refused(&p, AT_ERROR_USAGE, "adapts no text encoder");
    AT_CHECK(!at_dir_exists(scratch_path("no")));
}

int main(int argc, char **argv)
{
    bool vulkan = brief = argc > 1 && strcmp(argv[1], "--vulkan") == 0;
    struct at_log *log = capture_start(&capture);
    scratch_make();
    dev = vulkan ? at_vulkan_open(&(struct at_vulkan_params){0}, log) : tiny_device(log, 2);
    if (!dev)
        return AT_SKIP;
    pipes_folder("xl", xl, sizeof(xl));
    AT_RUN(from_pictures);
    if (!brief)
        AT_RUN(an_adapter_learns);
    AT_RUN(it_goes_on_from_a_file);
    AT_RUN(from_pairs);
    AT_RUN(texts_have_a_rate_of_their_own);
    AT_RUN(targets);
    AT_RUN(slips);
    at_device_close(&dev);
    scratch_remove();
    return at_test_end();
}
