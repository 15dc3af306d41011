// SPDX-License-Identifier: Apache-2.0
// Diffusion-DPO with activations in halves, on Vulkan: an adapter of the embedded model is trained in f32 on the CPU; then
// its gradients on the shipped pairs are taken in f32 and in halves, at the same weights. Both are what a run computes: one
// whose learning rate is 0 keeps in its checkpoints what the optimiser was given.
//
//     pipeline-dpo_halves [STEPS [BATCHES [PAIRS [BETA]]]]    steps before, batches compared, pairs in each
#include "core/io/safetensors.h"
#include "core/vulkan/executor.h"
#include "pipelines/model/model_folder.h"
#include "tests/pipeline/tiny.h"

#include <math.h>
#include <string.h>

static int steps = 8, batches = 2, pairs = 2;
static double beta = 2000;
static struct capture capture;
static struct at_device *dev;

static struct at_train_dpo_params job(const char *run, int64_t n)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/pairs/pairs.jsonl", getenv("ATTUNE_DATA"));
    struct at_train_dpo_params p = {.train = tiny_train(run, n), .pairs = path, .objective = {.beta = beta},
                                    .cache = scratch_path("cache")};
    p.train.lr = 5e-4;
    return p;
}

static bool run(struct at_device *on, const struct at_train_dpo_params *p)
{
    bool ok = at_train_dpo(on, p, capture_start(&capture));
    if (!ok)
        printf("%s\n", capture.text);
    return ok;
}

// The gradients of all pairs, one after the other, in activations of this type.
static bool run_pairs(const char *name, enum at_dtype type)
{
    struct at_train_dpo_params p = job(scratch_path(name), (int64_t)batches * pairs);
    p.lora.file = scratch_path("trained");
    p.train.batch = 1;
    p.train.lr = 0;
    p.train.save_every = 1;
    p.train.seed = 7; // other noise than that of the training
    p.train.optimizer.beta1 = p.train.optimizer.clip = 0; // the first moment is the gradient
    dev->activations = type;
    bool ok = run(dev, &p);
    dev->activations = AT_F32;
    return ok;
}

// Adds the gradient of pair i (from 0) to sum, which is allocated if it is NULL. Returns how many values it has; 0: failed.
static size_t add_gradient(const char *name, int i, double **sum)
{
    char path[320];
    snprintf(path, sizeof(path), "%s/checkpoint-%06d/state.safetensors", scratch_path(name), i + 1);
    struct at_safetensors *file = at_safetensors_open(&capture.log, path);
    const struct at_st_tensor *t = file ? at_safetensors_find(file, "lora.moments") : NULL;
    size_t n = AT_CHECK(t) ? (size_t)t->shape[0] / 2 : 0;
    if (n && !*sum)
        *sum = at_calloc(n, sizeof(**sum));
    for (size_t k = 0; *sum && k < n; k++) {
        float g;
        memcpy(&g, (const char *)t->data + k * sizeof(g), sizeof(g));
        (*sum)[k] += (double)g;
    }
    at_safetensors_destroy(&file);
    return n;
}

// A batch in f32 and in halves.
static void compare_batch(int number)
{
    double *g[2] = {NULL}, aa = 0, bb = 0, ab = 0, dd = 0;
    size_t n = 0;
    for (int i = 0; i < 2 * pairs; i++)
        n = add_gradient(i % 2 ? "f16" : "f32", number * pairs + i / 2, &g[i % 2]);
    for (size_t k = 0; g[0] && g[1] && k < n; k++) {
        aa += g[0][k] * g[0][k];
        bb += g[1][k] * g[1][k];
        ab += g[0][k] * g[1][k];
        dd += (g[0][k] - g[1][k]) * (g[0][k] - g[1][k]);
    }
    printf("batch %d of %d: gradients differ by %.1e of their norm, cosine 1 - %.1e\n", number + 1, pairs, sqrt(dd / aa),
           1 - ab / sqrt(aa * bb));
    AT_CHECK(sqrt(dd / aa) < 0.05 && ab / sqrt(aa * bb) > 0.999);
    at_free(g[0]);
    at_free(g[1]);
}

static void compare_margins(void)
{
    double sum = 0, off = 0, most = 0;
    for (int i = 1; i <= batches * pairs; i++) {
        double z = tiny_metric(scratch_path("f32"), i, "margin"), d = tiny_metric(scratch_path("f16"), i, "margin") - z;
        sum += z * z;
        off += d * d;
        most = fmax(most, fabs(d));
    }
    int n = batches * pairs;
    printf("z of %d pairs: %.3g (root of its mean square), in halves off by %.1e, at most %.1e\n", n, sqrt(sum / n),
           sqrt(off / n), most);
    AT_CHECK(sqrt(off / n) < 0.05 * beta / 2000);
}

static void an_adapter_learns_the_same_in_halves(void)
{
    struct at_device *cpu = tiny_device(&capture.log, 2);
    struct at_train_dpo_params p = job(scratch_path("trained"), steps);
    p.train.batch = 16;
    if (AT_CHECK(run(cpu, &p) && run_pairs("f32", AT_F32) && run_pairs("f16", AT_F16))) {
        printf("%d steps, the last one's loss %.4f, beta %g\n", steps, tiny_metric(scratch_path("trained"), steps, "loss"),
               beta);
        for (int i = 0; i < batches; i++)
            compare_batch(i);
        compare_margins();
    }
    at_device_close(&cpu);
}

// A fresh adapter is the reference to the bit in halves too.
static void begins_at_ln_2(void)
{
    struct at_train_dpo_params p = job(scratch_path("fresh"), 1);
    dev->activations = AT_F16;
    AT_CHECK(run(dev, &p));
    dev->activations = AT_F32;
    AT_CHECK_NEAR(tiny_metric(p.train.run, 1, "margin"), 0, 0);
    AT_CHECK_NEAR(tiny_metric(p.train.run, 1, "loss"), log(2), 1e-9);
}

// The tiny model with a layer whose output is beyond 65504, though in the range of f32. False: not written.
static bool make_overflowing(const char *folder)
{
    char path[512];
    size_t size;
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = tiny_path("model")}, &capture.log);
    bool ok = m && at_model_folder_save(m, folder, &(struct at_model_folder){.dtype = AT_ST_F32});
    at_model_destroy(&m);
    snprintf(path, sizeof(path), "%s/unet/diffusion_pytorch_model.safetensors", folder);
    struct at_safetensors *file = ok ? at_safetensors_open(&capture.log, path) : NULL;
    const struct at_st_tensor *t = file ? at_safetensors_find(file, "mid_block.resnets.0.conv1.weight") : NULL;
    char *text = tiny_text(path, &size), *at = t && text ? memmem(text, size, t->data, (size_t)t->bytes) : NULL;
    ok = at && t->dtype == AT_ST_F16;
    for (int64_t i = 0; ok && i < (int64_t)t->bytes; i += 2)
        memcpy(at + i, "\x00\x78", 2); // 32768
    at_safetensors_destroy(&file);
    ok = ok && at_file_replace(NULL, path, text, size);
    at_free(text);
    return ok;
}

// A value that is too large for halves ends the run before anything is saved, and the guard names its layer.
static void overflow_is_named(void)
{
    char model[256];
    snprintf(model, sizeof(model), "%s", scratch_path("large"));
    if (!AT_CHECK(make_overflowing(model)))
        return;
    struct at_train_dpo_params p = tiny_dpo(scratch_path("overflow"), 1);
    p.model = model;
    p.train.lr = 0;
    for (int guarded = 0; guarded < 2; guarded++) {
        dev->activations = AT_F16;
        dev->guard = guarded;
        AT_CHECK(!at_train_dpo(dev, &p, capture_start(&capture)));
        AT_CHECK_INT(capture.log.error, AT_ERROR_FAILED);
        if (!AT_CHECK(strstr(capture.text, guarded ? "conv2d in mid_block.resnets.0.conv1" : "--guard names the layer")))
            printf("%s\n", capture.text);
        AT_CHECK(!at_file_exists(scratch_path("overflow/pytorch_lora_weights.safetensors")) &&
                 !at_dir_exists(scratch_path("overflow/checkpoint-000001")));
    }
    dev->activations = AT_F32;
    dev->guard = false;
    AT_CHECK(run(dev, &p));
}

int main(int argc, char **argv)
{
    int *const numbers[] = {&steps, &batches, &pairs};
    for (int i = 1; i < argc && i <= 3; i++)
        *numbers[i - 1] = atoi(argv[i]);
    beta = argc > 4 ? atof(argv[4]) : beta;
    dev = at_vulkan_open(&(struct at_vulkan_params){.select = getenv("ATTUNE_TEST_DEVICE")}, capture_start(&capture));
    if (!dev)
        return AT_SKIP;
    scratch_make();
    AT_RUN(an_adapter_learns_the_same_in_halves);
    AT_RUN(begins_at_ln_2);
    AT_RUN(overflow_is_named);
    at_device_close(&dev);
    scratch_remove();
    return at_test_end();
}
