// SPDX-License-Identifier: Apache-2.0
// Weights on a device: in the types of their file, in pieces of a bounded size, back in the file with the same bits.
#include "core/optim/optimizer.h"

#include "core/base/half.h"
#include "core/base/rng.h"
#include "core/cpu/cpu.h"
#include "core/graph/dry.h"
#include "core/io/sha256.h"
#include "tests/unit/capture.h"

#define COUNT 5

static struct capture heard;

static const struct {
    const char *name;
    struct at_shape shape;
    enum at_layout layout;
} list[COUNT] = {
    {"conv.weight", {4, {5, 3, 3, 7}}, AT_LAYOUT_CONV},   {"conv.bias", {1, {5}}, AT_LAYOUT_PLAIN},
    {"line.weight", {2, {30, 20}}, AT_LAYOUT_PLAIN},      {"position.weight", {2, {4, 6}}, AT_LAYOUT_F32},
    {"one.weight", {2, {9, 11}}, AT_LAYOUT_CONV_AS_LINEAR},
};

static struct at_params *declare(struct at_log *log)
{
    struct at_params *p = at_params_create(log);
    for (int i = 0; p && i < COUNT; i++)
        AT_CHECK(at_params_declare(p, list[i].name, list[i].shape, list[i].layout,
                                   (struct at_init){AT_INIT_NORMAL, 1}));
    return p;
}

static struct at_device *open_cpu(bool oracle, size_t max_chunk)
{
    struct at_device *dev = at_cpu_open(&(struct at_cpu_params){.threads = 1, .oracle = oracle}, capture_start(&heard));
    dev->max_chunk = max_chunk;
    return dev;
}

// The initial values for a seed, in a file of that type.
static void write_file(const char *path, enum at_st_dtype dtype)
{
    struct at_device *dev = open_cpu(false, 0);
    struct at_params *p = declare(dev->log);
    AT_CHECK(at_params_allocate(p, dev, 0) && at_params_init(p, 7));
    AT_CHECK(at_params_save(p, &(struct at_params_save_params){.path = path, .prefix = "m.", .dtype = dtype}));
    at_params_destroy(&p);
    at_device_close(&dev);
}

static struct at_params *load(struct at_device *dev, const char *path, enum at_weights weights)
{
    struct at_safetensors *file = at_safetensors_open(dev->log, path);
    struct at_params *p = declare(dev->log);
    at_params_choose_types(p, weights, file, "m.");
    if (!at_params_allocate(p, dev, 0) || !at_params_load(p, file, "m.", NULL))
        at_params_destroy(&p);
    at_safetensors_destroy(&file);
    return p;
}

static bool same_files(const char *a, const char *b)
{
    uint8_t *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    bool ok = at_file_read(NULL, a, 1 << 20, &x, &n) && at_file_read(NULL, b, 1 << 20, &y, &m) && n == m &&
              memcmp(x, y, n) == 0;
    at_free(x);
    at_free(y);
    return ok;
}

static void halves_come_back_with_the_same_bits(void)
{
    static const enum at_st_dtype in_file[] = {AT_ST_F16, AT_ST_BF16, AT_ST_F32};
    static const enum at_dtype on_device[] = {AT_F16, AT_BF16, AT_F32};
    for (int oracle = 0; oracle < 2; oracle++)
        for (int t = 0; t < 3; t++) {
            write_file(scratch_path("a.safetensors"), in_file[t]);
            struct at_device *dev = open_cpu(oracle, 0);
            struct at_params *p = load(dev, scratch_path("a.safetensors"), AT_WEIGHTS_STORED);
            for (int i = 0; AT_CHECK(p) && i < COUNT; i++) {
                bool matrix = list[i].shape.rank > 1 && list[i].layout != AT_LAYOUT_F32;
                AT_CHECK_INT(p->list[i].dtype, matrix ? on_device[t] : AT_F32);
            }
            char other[128];
            snprintf(other, sizeof(other), "%s", scratch_path("b.safetensors"));
            struct at_params_save_params how = {.path = other, .prefix = "m.", .dtype = in_file[t]};
            AT_CHECK(p && at_params_save(p, &how) && same_files(scratch_path("a.safetensors"), other));
            at_params_destroy(&p);
            at_device_close(&dev);
        }
}

// A type that is asked for is rounded to, and what it cannot hold is refused.
static void types_can_be_forced(void)
{
    write_file(scratch_path("a.safetensors"), AT_ST_F32);
    struct at_device *dev = open_cpu(false, 0);
    struct at_params *f = load(dev, scratch_path("a.safetensors"), AT_WEIGHTS_F32);
    struct at_params *h = load(dev, scratch_path("a.safetensors"), AT_WEIGHTS_BF16);
    static float x[2000], y[2000];
    AT_CHECK(f && h && f->total <= 2000 && at_params_read(f, x) && at_params_read(h, y));
    int wrong = 0;
    for (int i = 0; f && i < COUNT; i++)
        for (int64_t k = 0; k < at_shape_count(list[i].shape); k++) {
            float v = x[f->list[i].offset + k];
            bool half = h->list[i].dtype == AT_BF16;
            wrong += y[h->list[i].offset + k] != (half ? at_f32_from_bf16(at_bf16_from_f32(v)) : v);
        }
    AT_CHECK_INT(wrong, 0);
    if (f) {
        x[f->list[2].offset + 3] = 70000;
        AT_CHECK(at_params_write(f, x));
        AT_CHECK(at_params_save(f, &(struct at_params_save_params){
                                       .path = scratch_path("wide.safetensors"), .prefix = "m.", .dtype = AT_ST_F32}));
        struct at_params *wide = load(dev, scratch_path("wide.safetensors"), AT_WEIGHTS_F16);
        AT_CHECK(!wide && capture_says(&heard, "line.weight") && capture_says(&heard, "--weights bf16"));
    }
    at_params_destroy(&f);
    at_params_destroy(&h);
    at_device_close(&dev);
}

static void infinite_halves_are_refused(void)
{
    static const enum at_dtype types[] = {AT_F16, AT_BF16};
    for (int t = 0; t < 2; t++) {
        struct at_device *dev = open_cpu(false, 0);
        struct at_params *p = declare(dev->log);
        at_params_choose_types(p, types[t] == AT_F16 ? AT_WEIGHTS_F16 : AT_WEIGHTS_BF16, NULL, "");
        static float x[2000];
        AT_CHECK(at_params_allocate(p, dev, 0) && at_params_init(p, 7) && at_params_read(p, x));
        x[p->list[0].offset + 8] = INFINITY;
        AT_CHECK(at_params_write(p, x));
        struct at_params_save_params how = {.path = scratch_path("bad.safetensors"), .prefix = "m.",
                                            .dtype = t ? AT_ST_BF16 : AT_ST_F16};
        AT_CHECK(at_params_save(p, &how));
        struct at_params *bad = load(dev, how.path, AT_WEIGHTS_STORED);
        AT_CHECK(!bad && capture_says(&heard, "not finite") && capture_says(&heard, "conv.weight"));
        at_params_destroy(&p);
        at_device_close(&dev);
    }
}

// The same values and the same hash whatever the pieces.
static void pieces_change_nothing(void)
{
    static float x[2][2000];
    char hash[2][65];
    for (int small = 0; small < 2; small++) {
        struct at_device *dev = open_cpu(false, small ? 2600 : 0);
        struct at_params *p = declare(dev->log);
        uint8_t digest[32];
        struct at_sha256 h;
        at_sha256_init(&h);
        AT_CHECK(at_params_allocate(p, dev, 0) && at_params_init(p, 7) && at_params_read(p, x[small]));
        AT_CHECK(at_params_write(p, x[small]) && at_params_read(p, x[small]) && at_params_hash(p, &h));
        at_sha256_finish(&h, digest);
        at_sha256_hex(digest, hash[small]);
        AT_CHECK(small ? p->piece_count >= 3 : p->piece_count == 1);
        char whole[65];
        at_sha256_text(x[small], (size_t)p->total * sizeof(float), whole);
        AT_CHECK_STR(hash[small], whole);
        at_params_destroy(&p);
        at_device_close(&dev);
    }
    AT_CHECK(memcmp(x[0], x[1], sizeof(x[0])) == 0);
}

static void a_weight_that_is_too_large_is_named(void)
{
    struct at_device *dev = open_cpu(false, 2000);
    struct at_params *p = declare(dev->log);
    AT_CHECK(!at_params_allocate(p, dev, 0) && strstr(heard.text, "line.weight needs") && strstr(heard.text, "--weights"));
    AT_CHECK_INT(dev->log->error, AT_ERROR_DEVICE);
    at_params_destroy(&p);
    p = declare(dev->log);
    at_params_choose_types(p, AT_WEIGHTS_F16, NULL, "");
    AT_CHECK(at_params_allocate(p, dev, 0));
    at_params_destroy(&p);
    at_device_close(&dev);
}

// Three steps; what a checkpoint holds of one way of cutting goes on in the other.
static void train(size_t max_chunk, const float *moments, float *weights, float *out_moments)
{
    struct at_device *dev = open_cpu(false, max_chunk);
    struct at_params *p = declare(dev->log);
    AT_CHECK(at_params_allocate(p, dev, 2) && at_params_init(p, 7));
    struct at_optimizer_params params = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1, .ema = 0.5};
    struct at_optimizer *o = at_optimizer_create(&p, 1, &params, dev->log);
    AT_CHECK(o && (!max_chunk || p->piece_count >= 3));
    if (o && moments)
        AT_CHECK(at_optimizer_write(o, 0, AT_VECTOR_WEIGHTS, weights) &&
                 at_optimizer_write(o, 0, AT_VECTOR_MOMENTS, moments));
    for (int step = moments ? 4 : 1, end = step + 3; o && step < end; step++) {
        for (int i = 0; i < p->piece_count; i++)
            for (int r = 0; r < 2; r++) {
                float g[2000];
                at_rng_normal(g, 2000, 5, AT_STREAM_MAKE, (uint64_t)(2 * step + r));
                AT_CHECK(at_store_write(p->pieces[i].grad[r], 0, g + p->pieces[i].first, p->pieces[i].count));
            }
        AT_CHECK(at_optimizer_step(o, step, 1e-2, 0.5, NULL));
    }
    AT_CHECK(o && at_optimizer_count(o, 0, AT_VECTOR_MOMENTS) == 2 * p->total &&
             at_optimizer_count(o, 0, AT_VECTOR_AVERAGE) == p->total &&
             at_optimizer_read(o, 0, AT_VECTOR_WEIGHTS, weights) &&
             at_optimizer_read(o, 0, AT_VECTOR_MOMENTS, out_moments));
    at_optimizer_destroy(&o);
    at_params_destroy(&p);
    at_device_close(&dev);
}

static void training_in_pieces_is_the_same(void)
{
    static float w[3][2000], m[3][4000];
    train(0, NULL, w[0], m[0]);
    train(5200, NULL, w[1], m[1]);
    AT_CHECK(memcmp(w[0], w[1], sizeof(w[0])) == 0 && memcmp(m[0], m[1], sizeof(m[0])) == 0);
    memcpy(w[2], w[1], sizeof(w[2]));
    train(0, m[1], w[2], m[2]);
    train(5200, m[0], w[0], m[0]);
    AT_CHECK(memcmp(w[0], w[2], sizeof(w[0])) == 0 && memcmp(m[0], m[2], sizeof(m[0])) == 0);
}

// Matrices alone are left in the host's memory.
static void matrices_are_offloaded(void)
{
    struct at_device *dev = open_cpu(false, 0), *dry = at_dry_open(dev, dev->log);
    dry->offload = true;
    struct at_params *p = declare(dev->log);
    at_params_choose_types(p, AT_WEIGHTS_F16, NULL, "");
    AT_CHECK(at_params_allocate(p, dry, 0));
    AT_CHECK_INT((int)dry->used[AT_USE_WEIGHTS], 64 * 4); // the bias, padded
    AT_CHECK_INT((int)dry->used[AT_USE_HOST], (320 + 640 + 128) * 2 + 64 * 4);
    at_params_destroy(&p);
    at_device_close(&dry);
    at_device_close(&dev);
}

int main(void)
{
    scratch_make();
    AT_RUN(halves_come_back_with_the_same_bits);
    AT_RUN(types_can_be_forced);
    AT_RUN(infinite_halves_are_refused);
    AT_RUN(pieces_change_nothing);
    AT_RUN(a_weight_that_is_too_large_is_named);
    AT_RUN(training_in_pieces_is_the_same);
    AT_RUN(matrices_are_offloaded);
    scratch_remove();
    return at_test_end();
}
