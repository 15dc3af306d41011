// SPDX-License-Identifier: Apache-2.0
// One adapter in every dialect draws what diffusers draws with it; several at once; merged; written and read again.
// Argument: --cpu or --vulkan.
#include "core/vulkan/executor.h"
#include "pipelines/lora/lora_diff.h"
#include "pipelines/lora/lora_extract.h"
#include "pipelines/lora/lora_merge.h"
#include "pipelines/lora/lora_write.h"
#include "pipelines/model/text.h"
#include "tests/pipeline/pipes.h"
#include "tests/pipeline/tiny.h"

#include <string.h>

#define LATENT (TINY_LATENT * TINY_LATENT * TINY_CHANNELS)
#define PIXELS (TINY_SIDE * TINY_SIDE * 3)
#define HIDDEN (16 * 16) // tokens, width

static struct capture capture;
static struct at_device *dev;
static struct at_model *model;
static struct at_safetensors *io;
static double tolerance; // of max |difference| / max |expected|

static const struct at_sample_item items[2] = {{.prompt = "a red kite", .negative = "a dull cat"},
                                               {.prompt = "two blue cups", .negative = "a dull cat"}};

static const char *file(const char *name)
{
    static char path[4][512];
    static int turn;
    const char *dir = getenv("AT_TEST_DATA");
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/adapters/%s", dir ? dir : "tests/data", name);
    return path[turn];
}

// A tensor (N,C,h,w) as (N,h,w,C).
static void golden(const char *run, const char *what, float *out)
{
    static float plain[2 * LATENT];
    char name[64];
    snprintf(name, sizeof(name), "%s%s%s", run, run[0] ? "." : "", what);
    const struct at_st_tensor *t = at_safetensors_find(io, name);
    if (!AT_CHECK(t && t->elements <= 2 * LATENT && at_safetensors_to_f32(io, t, plain)))
        return;
    size_t n = (size_t)t->shape[0], c = t->rank == 4 ? (size_t)t->shape[1] : 1, area = (size_t)t->elements / n / c;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < c; k++)
            for (size_t p = 0; p < area; p++)
                out[(i * area + p) * c + k] = plain[(i * c + k) * area + p];
}

static void check_close(const char *name, const char *what, const float *got, const float *want, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)want[i]));
    double error = tiny_distance(got, want, n) / most;
    printf("%s: %s off by %.1e\n", name, what, error);
    AT_CHECK_NEAR(error, 0, tolerance);
}

static void check_run(struct at_model *m, const char *name, struct at_lora *const *loras, int count, const char *run)
{
    static float init[2 * LATENT], want[2 * LATENT], latents[2 * LATENT], pixels[2 * PIXELS];
    golden("", "x", init);
    golden(run, "latents", want);
    struct at_sample_params p = {.items = items, .count = 2, .steps = 4, .cfg = 4, .init = init, .loras = loras,
                                 .lora_count = count};
    if (AT_CHECK(at_sample(m, &p, pixels, latents)))
        check_close(name, "latents", latents, want, 2 * LATENT);
}

static void check_hidden(const char *name, struct at_lora *const *loras, int count, const char *run)
{
    static float want[2 * HIDDEN], hidden[2 * HIDDEN];
    struct at_adapter adapters[AT_MODEL_ADAPTERS];
    golden(run, "hidden", want);
    at_text_adapt(model, 0, adapters, at_lora_parts(loras, count, AT_COMPONENT_TEXT, adapters));
    if (AT_CHECK(at_text_embed(model, (const char *[]){items[0].prompt, items[1].prompt}, 2, NULL, hidden)))
        check_close(name, "hidden states", hidden, want, 2 * HIDDEN);
    at_text_adapt(model, 0, NULL, 0);
}

static void every_dialect_draws_the_same(void)
{
    static const char *const names[] = {"mixed.safetensors", "old.safetensors", "kohya.safetensors",
                                        "comfyui.safetensors", "oldest.safetensors"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        const char *run = i < 4 ? "mixed" : "oldest";
        struct at_lora *lora = at_lora_open(model, file(names[i]), 1);
        if (!AT_CHECK(lora)) {
            printf("%s\n", capture.text);
            continue;
        }
        check_hidden(names[i], &lora, 1, run);
        check_run(model, names[i], &lora, 1, run);
        at_lora_destroy(&lora);
    }
    check_run(model, "without", NULL, 0, "plain"); // the adapters of text encoders are gone
}

static void parts_of_peft_are_two_adapters(void)
{
    struct at_lora *loras[2] = {at_lora_open(model, file("peft/unet"), 1),
                                at_lora_open(model, file("peft/text_encoder"), 1)};
    if (AT_CHECK(loras[0] && loras[1])) {
        check_hidden("peft", loras, 2, "mixed");
        check_run(model, "peft", loras, 2, "mixed");
    }
    at_lora_destroy(&loras[0]);
    at_lora_destroy(&loras[1]);
}

static void several_at_once(void)
{
    struct at_lora *loras[2] = {at_lora_open(model, file("kohya.safetensors"), 0.75f),
                                at_lora_open(model, file("second.safetensors"), -0.5f)};
    if (AT_CHECK(loras[0] && loras[1])) {
        check_hidden("two", loras, 2, "both");
        check_run(model, "two", loras, 2, "both");
    }
    at_lora_destroy(&loras[0]);
    at_lora_destroy(&loras[1]);
}

// sd-scripts' names of SDXL, for the UNet and both text encoders; merged too.
static void sdxl(void)
{
    enum { height = 24, width = 16, latent = height / 2 * (width / 2) * 4 };
    static float pixels[2 * height * width * 3], latents[2 * latent], want[2 * latent];
    static const struct at_sample_item two[] = {{"a red kite", NULL, 11}, {"two blue cups", NULL, 12}};
    char path[256], out[256];
    pipes_folder("xl", path, sizeof(path));
    snprintf(out, sizeof(out), "%s", scratch_path("xl-merged"));
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = path}, &capture.log);
    struct at_lora *lora = m ? at_lora_open(m, file("xl.safetensors"), 1) : NULL;
    struct at_sample_params p = {.items = two, .count = 2, .steps = 4, .cfg = 5, .height = height, .width = width,
                                 .sampler = AT_SAMPLER_EULER, .loras = &lora, .lora_count = 1};
    golden("xl", "latents", want);
    if (AT_CHECK(m && lora && at_sample(m, &p, pixels, latents)))
        check_close("SDXL", "latents", latents, want, 2 * latent);
    else
        printf("%s\n", capture.text);
    at_lora_destroy(&lora);
    struct at_layers *layers = m ? at_lora_layers(m) : NULL;
    struct at_lora_data *d = layers ? at_lora_data_open(&capture.log, file("xl.safetensors"),
                                                        &(struct at_lora_data_params){.layers = layers}) : NULL;
    struct at_lora_share share = {d, 1};
    struct at_lora_merge_params how = {.shares = &share, .count = 1, .out = out, .convert = true, .dtype = AT_ST_F32};
    AT_CHECK(d && d->dialect == AT_LORA_KOHYA && at_lora_merge(m, &how));
    at_lora_data_destroy(&d);
    at_layers_destroy(&layers);
    at_model_destroy(&m);
    m = at_model_open(dev, &(struct at_model_params){.path = out}, &capture.log);
    p.lora_count = 0;
    if (AT_CHECK(m && at_sample(m, &p, pixels, latents)))
        check_close("SDXL, merged", "latents", latents, want, 2 * latent);
    at_model_destroy(&m);
}

// --- files ----------------------------------------------------------------------------------------------------------

static void check_fused(const char *dir)
{
    for (size_t i = 0; i < at_safetensors_count(io); i++) {
        const struct at_st_tensor *t = at_safetensors_at(io, i);
        bool unet = strncmp(t->name, "fused.unet.", 11) == 0, text = strncmp(t->name, "fused.text_encoder.", 19) == 0;
        if (!unet && !text)
            continue;
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", dir, unet ? "unet/diffusion_pytorch_model.safetensors"
                                                        : "text_encoder/model.safetensors");
        struct at_safetensors *weights = at_safetensors_open(&capture.log, path);
        const struct at_st_tensor *got = weights ? at_safetensors_find(weights, t->name + (unet ? 11 : 19)) : NULL;
        float *a = at_calloc((size_t)t->elements, sizeof(float)), *b = at_calloc((size_t)t->elements, sizeof(float));
        if (AT_CHECK(a && b && got && got->elements == t->elements && at_safetensors_to_f32(io, t, a) &&
                     at_safetensors_to_f32(weights, got, b)))
            AT_CHECK_NEAR(tiny_distance(a, b, (size_t)t->elements), 0, 1e-7);
        at_free(a);
        at_free(b);
        at_safetensors_destroy(&weights);
    }
}

static void merged_models_are_as_fused(void)
{
    struct at_layers *layers = at_lora_layers(model);
    struct at_lora_data_params p = {.layers = layers};
    struct at_lora_data *data[2] = {at_lora_data_open(&capture.log, file("mixed.safetensors"), &p),
                                    at_lora_data_open(&capture.log, file("second.safetensors"), &p)};
    struct at_lora_share shares[2] = {{data[0], 0.75}, {data[1], -0.5}};
    struct at_lora_merge_params how = {.shares = shares, .count = 2, .out = scratch_path("merged"), .convert = true,
                                       .dtype = AT_ST_F32};
    if (AT_CHECK(data[0] && data[1] && at_lora_merge(model, &how))) {
        check_fused(how.out);
        struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = how.out}, &capture.log);
        if (AT_CHECK(m))
            check_run(m, "merged", NULL, 0, "both");
        at_model_destroy(&m);
        AT_CHECK(!at_lora_merge(model, &how)); // the folder is not empty
        AT_CHECK(capture_says(&capture, "is not empty"));
    }
    at_lora_data_destroy(&data[0]);
    at_lora_data_destroy(&data[1]);
    at_layers_destroy(&layers);
}

// Stored as the model is: rounded once to f16.
static void merged_models_keep_their_types(void)
{
    struct at_layers *layers = at_lora_layers(model);
    struct at_lora_data *d = at_lora_data_open(&capture.log, file("second.safetensors"),
                                               &(struct at_lora_data_params){.layers = layers});
    struct at_lora_share share = {d, 1};
    struct at_lora_merge_params how = {.shares = &share, .count = 1, .out = scratch_path("halves")};
    AT_CHECK(d && at_lora_merge(model, &how));
    const char *weights = scratch_path("halves/unet/diffusion_pytorch_model.safetensors");
    struct at_safetensors *st = at_safetensors_open(&capture.log, weights);
    for (size_t i = 0; AT_CHECK(st) && i < at_safetensors_count(st); i++)
        AT_CHECK(at_safetensors_at(st, i)->dtype == AT_ST_F16);
    at_safetensors_destroy(&st);
    AT_CHECK(tiny_same_files(scratch_path("halves/text_encoder/model.safetensors"),
                             tiny_path("model/text_encoder/model.safetensors"))); // nothing of it was adapted
    at_lora_data_destroy(&d);
    at_layers_destroy(&layers);
}

static double distance(const struct at_lora_data *a, const struct at_lora_data *b)
{
    double worst = a->count == b->count ? 0 : INFINITY;
    for (int i = 0; i < a->count; i++) {
        int k = at_index_find(&b->index, b->list, sizeof(*b->list), a->list[i].id);
        struct at_lora_distance d = {.relative = INFINITY};
        AT_CHECK(k >= 0 && at_lora_layer_distance(a, &a->list[i], b, &b->list[k], &d));
        worst = fmax(worst, d.relative);
    }
    return worst;
}

// From every dialect to every other one.
static void all_dialects_convert(void)
{
    static const char *const names[] = {"mixed.safetensors", "old.safetensors", "kohya.safetensors",
                                        "comfyui.safetensors"};
    struct at_layers *layers = at_lora_layers(model);
    struct at_lora_data_params p = {.layers = layers};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct at_lora_data *from = at_lora_data_open(&capture.log, file(names[i]), &p);
        for (int to = 0; AT_CHECK(from) && to < AT_LORA_DIALECTS; to++) {
            if (to == AT_LORA_PEFT)
                continue; // two files
            struct at_lora_write_params w = {.path = scratch_path("out.safetensors"),
                                             .dialect = (enum at_lora_dialect)to};
            AT_CHECK(at_lora_write(from, &w));
            struct at_lora_data *back = at_lora_data_open(&capture.log, w.path, &p);
            if (AT_CHECK(back)) {
                AT_CHECK_NEAR(distance(from, back), 0, 0);
                AT_CHECK(back->dialect == w.dialect || to == AT_LORA_KOHYA_DIFFUSERS);
                AT_CHECK(!back->mixed);
            }
            at_lora_data_destroy(&back);
        }
        at_lora_data_destroy(&from);
    }
    at_layers_destroy(&layers);
}

static void distances(void)
{
    struct at_layers *layers = at_lora_layers(model);
    struct at_lora_data_params p = {.layers = layers};
    struct at_lora_data *a = at_lora_data_open(&capture.log, file("mixed.safetensors"), &p);
    struct at_lora_data *b = at_lora_data_open(&capture.log, file("second.safetensors"), &p);
    const char *id = "unet.down_blocks.1.resnets.0.conv1"; // in both; the product is formed here
    int i = a ? at_index_find(&a->index, a->list, sizeof(*a->list), id) : -1;
    int k = b ? at_index_find(&b->index, b->list, sizeof(*b->list), id) : -1;
    if (AT_CHECK(i >= 0 && k >= 0)) {
        const struct at_lora_layer *l[2] = {&a->list[i], &b->list[k]};
        const struct at_lora_data *d[2] = {a, b};
        size_t in = (size_t)(l[0]->in * 9), out = (size_t)l[0]->out;
        double *w = at_calloc(in * out * 2, sizeof(*w)), sums[3] = {0};
        for (int s = 0; s < 2; s++) {
            float *down = at_calloc((size_t)l[s]->rank * in, sizeof(float));
            float *up = at_calloc((size_t)l[s]->rank * out, sizeof(float));
            AT_CHECK(at_lora_data_read(d[s], l[s]->down, down) && at_lora_data_read(d[s], l[s]->up, up));
            for (size_t o = 0; o < out; o++)
                for (size_t x = 0; x < in; x++)
                    for (int r = 0; r < l[s]->rank; r++)
                        w[(size_t)s * in * out + o * in + x] += (double)l[s]->alpha / l[s]->rank *
                            (double)up[o * (size_t)l[s]->rank + (size_t)r] * (double)down[(size_t)r * in + x];
            at_free(down);
            at_free(up);
        }
        for (size_t x = 0; x < in * out; x++) {
            double u = w[x], v = w[in * out + x];
            sums[0] += u * u, sums[1] += v * v, sums[2] += (u - v) * (u - v);
        }
        struct at_lora_distance got;
        AT_CHECK(at_lora_layer_distance(a, l[0], b, l[1], &got));
        AT_CHECK_NEAR(got.a, sqrt(sums[0]), 1e-9 * got.a);
        AT_CHECK_NEAR(got.b, sqrt(sums[1]), 1e-9 * got.b);
        AT_CHECK_NEAR(got.difference, sqrt(sums[2]), 1e-9 * got.a);
        AT_CHECK_NEAR(got.relative, sqrt(sums[2] / fmax(sums[0], sums[1])), 1e-9);
        at_free(w);
    }
    at_lora_data_destroy(&a);
    at_lora_data_destroy(&b);
    at_layers_destroy(&layers);
}

// What was merged comes out again; of the SDXL model from both text encoders too.
static void merged_adapters_are_extracted(void)
{
    char path[256], out[256], file_out[256];
    pipes_folder("xl", path, sizeof(path));
    snprintf(out, sizeof(out), "%s", scratch_path("to-extract"));
    snprintf(file_out, sizeof(file_out), "%s", scratch_path("extracted.safetensors"));
    struct at_model *base = at_model_open(NULL, &(struct at_model_params){.path = path, .check = true}, &capture.log);
    struct at_layers *layers = base ? at_lora_layers(base) : NULL;
    struct at_lora_data_params p = {.layers = layers};
    struct at_lora_data *d = layers ? at_lora_data_open(&capture.log, file("xl.safetensors"), &p) : NULL, *back = NULL;
    struct at_lora_share share = {d, 1};
    struct at_lora_merge_params how = {.shares = &share, .count = 1, .out = out, .convert = true, .dtype = AT_ST_F32};
    AT_CHECK(d && at_lora_merge(base, &how));
    struct at_model *tuned = at_model_open(NULL, &(struct at_model_params){.path = out, .check = true}, &capture.log);
    struct at_lora_extract_params e = {.base = base, .tuned = tuned, .out = file_out, .rank = 8, .dtype = AT_ST_F32};
    struct at_lora_extracted x;
    if (AT_CHECK(d && tuned && at_lora_extract(&e, &x) && (back = at_lora_data_open(&capture.log, file_out, &p)))) {
        AT_CHECK_INT(x.layers, d->count);
        AT_CHECK_NEAR(x.adaptable, x.all, 0);
        AT_CHECK_NEAR(x.lost, 0, 1e-3 * x.all);
        AT_CHECK_NEAR(distance(d, back), 0, 1e-4);
    } else {
        printf("%s\n", capture.text);
    }
    at_lora_data_destroy(&d);
    at_lora_data_destroy(&back);
    at_layers_destroy(&layers);
    at_model_destroy(&tuned);
    at_model_destroy(&base);
}

static void failed_merges_leave_nothing(void)
{
    struct at_layers *layers = at_lora_layers(model);
    struct at_lora_data *d = at_lora_data_open(&capture.log, file("mixed.safetensors"),
                                               &(struct at_lora_data_params){.layers = layers});
    struct at_lora_share share = {d, 1};
    char out[256];
    snprintf(out, sizeof(out), "%s", scratch_path("half-done"));
    struct at_lora_merge_params how = {.shares = &share, .count = 1, .out = out};
    for (size_t n = 1; d && n < 2000; n = n < 40 ? n + 1 : n * 5 / 4) { // every allocation fails once
        struct at_log *log = capture_start(&capture);
        at_alloc_fail_at(n, false);
        bool ok = at_lora_merge(model, &how);
        bool failed = at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(ok || failed);
        AT_CHECK(ok || log->error != AT_ERROR_NONE);
        AT_CHECK(ok == at_file_exists(scratch_path("half-done/model_index.json")));
        AT_CHECK(ok == at_dir_exists(out) && !at_dir_exists(scratch_path("half-done.tmp")));
        AT_CHECK(at_path_remove(log, how.out));
        if (!failed)
            break;
    }
    at_lora_data_destroy(&d);
    at_layers_destroy(&layers);
    capture_start(&capture);
}

int main(int argc, char **argv)
{
    bool vulkan = argc > 1 && strcmp(argv[1], "--vulkan") == 0;
    scratch_make();
    struct at_log *log = capture_start(&capture);
    dev = vulkan ? at_vulkan_open(&(struct at_vulkan_params){0}, log) : tiny_device(log, 2);
    if (!dev)
        return AT_SKIP;
    tolerance = vulkan ? 1e-3 : 1e-4;
    model = at_model_open(dev, &(struct at_model_params){.path = tiny_path("model")}, log);
    io = at_safetensors_open(log, file("io.safetensors"));
    if (AT_CHECK(model && io)) {
        AT_RUN(every_dialect_draws_the_same);
        AT_RUN(parts_of_peft_are_two_adapters);
        AT_RUN(several_at_once);
        AT_RUN(sdxl);
        AT_RUN(merged_models_are_as_fused);
        AT_RUN(merged_models_keep_their_types);
        AT_RUN(all_dialects_convert);
        AT_RUN(distances);
        AT_RUN(merged_adapters_are_extracted);
        if (!vulkan)
            AT_RUN(failed_merges_leave_nothing);
    } else {
        printf("%s\n", capture.text);
    }
    at_safetensors_destroy(&io);
    at_model_destroy(&model);
    tiny_close(&dev);
    scratch_remove();
    return at_test_end();
}
