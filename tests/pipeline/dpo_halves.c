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

#define MOST 64 // pairs in a batch

static int steps = 8, batches = 2, pairs = 2;
static double beta = 2000;
static bool measuring; // other numbers than the test's: nothing is known of what should come out
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

// The gradient of pair i (from 0), to be freed, and how many values it has. NULL: failed.
static float *read_gradient(const char *name, int i, size_t *n)
{
    char path[320];
    snprintf(path, sizeof(path), "%s/checkpoint-%06d/state.safetensors", scratch_path(name), i + 1);
    struct at_safetensors *file = at_safetensors_open(&capture.log, path);
    const struct at_st_tensor *t = file ? at_safetensors_find(file, "lora.moments") : NULL;
    *n = AT_CHECK(t) ? (size_t)t->shape[0] / 2 : 0;
    float *g = t ? at_calloc(*n, sizeof(*g)) : NULL;
    if (g)
        memcpy(g, t->data, *n * sizeof(*g));
    at_safetensors_destroy(&file);
    return g;
}

// Of two gradients: the distance, of the norm of the first, and the cosine.
struct likeness {
    double distance, cosine;
};

static struct likeness compare(const float *a, const float *b, size_t n)
{
    double aa = 0, bb = 0, ab = 0, dd = 0;
    for (size_t k = 0; k < n; k++) {
        double x = (double)a[k], y = (double)b[k];
        aa += x * x;
        bb += y * y;
        ab += x * y;
        dd += (x - y) * (x - y);
    }
    return (struct likeness){sqrt(dd / aa), ab / sqrt(aa * bb)};
}

static void add(float *sum, const float *x, size_t n)
{
    for (size_t k = 0; k < n; k++)
        sum[k] += x[k];
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// A batch in f32 and in halves, what its pairs contribute, and, for scale, one half of the batch beside the other.
static void compare_batch(int number)
{
    float *sum[2][2] = {{NULL}}; // of the two halves of the batch; in f32, in f16
    double single[MOST];
    size_t n = 0;
    for (int i = 0; i < pairs; i++) {
        float *g[2];
        for (int f = 0; f < 2; f++)
            g[f] = read_gradient(f ? "f16" : "f32", number * pairs + i, &n);
        single[i] = g[0] && g[1] ? compare(g[0], g[1], n).distance : NAN;
        for (int f = 0; f < 2; f++) {
            float **to = &sum[2 * i / pairs][f];
            *to = *to ? *to : at_calloc(n, sizeof(float));
            if (AT_CHECK(g[f] && *to))
                add(*to, g[f], n);
            at_free(g[f]);
        }
    }
    if (!AT_CHECK(sum[0][0] && sum[0][1] && sum[1][0] && sum[1][1]))
        return;
    struct likeness scale = compare(sum[0][0], sum[1][0], n);
    for (int f = 0; f < 2; f++)
        add(sum[0][f], sum[1][f], n);
    struct likeness batch = compare(sum[0][0], sum[0][1], n);
    qsort(single, (size_t)pairs, sizeof(*single), by_value);
    printf("gradient of %d pairs off by %.1e of its norm, cosine %.5f; of one pair by %.1e (median), at most %.1e; "
           "half a batch against the other: cosine %.2f\n", pairs, batch.distance, batch.cosine, single[pairs / 2],
           single[pairs - 1], scale.cosine);
    AT_CHECK(measuring || (batch.distance < 0.05 && batch.cosine > 0.999));
    for (int i = 0; i < 4; i++)
        at_free(sum[i / 2][i % 2]);
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
    AT_CHECK(measuring || sqrt(off / n) < 0.06);
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
    measuring = argc > 1;
    if (pairs < 2 || pairs > MOST) {
        printf("PAIRS: 2 to %d\n", MOST);
        return 1;
    }
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
