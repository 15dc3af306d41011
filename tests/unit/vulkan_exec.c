// SPDX-License-Identifier: Apache-2.0
// The Vulkan executor: whole graphs against the CPU device, barriers, small devices, and failing calls.
#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/cpu/cpu.h"
#include "core/graph/device.h"
#include "core/graph/gradient.h"
#include "core/ops/build.h"
#include "core/ops/op.h"
#include "core/vulkan/device.h"
#include "core/vulkan/executor.h"
#include "core/vulkan/memory.h"
#include "core/vulkan/pipeline.h"
#include "tests/harness.h"

#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>

static char said[512]; // the first error

static void hear(void *priv, enum at_level level, const char *text)
{
    (void)priv;
    if (level == AT_LEVEL_ERROR && !said[0])
        snprintf(said, sizeof(said), "%s", text);
}

static struct at_log sink = {.write = hear};
static struct at_device *vulkan, *cpu;

static void forget(void)
{
    said[0] = 0;
    sink.error = AT_ERROR_NONE;
}

static bool says(const char *part)
{
    bool ok = strstr(said, part) != NULL;
    if (!ok)
        printf("  the log says \"%s\", not \"%s\"\n", said, part);
    forget();
    return ok;
}

static struct at_device *open_device(void)
{
    return at_vulkan_open(&(struct at_vulkan_params){.select = getenv("ATTUNE_TEST_DEVICE")}, &sink);
}

// Closes a device that should have nothing left in its memory and nothing to complain of.
static void close_clean(struct at_device **dev)
{
    if (!*dev)
        return;
    AT_CHECK_INT((*dev)->allocated, 0);
    AT_CHECK_INT(at_vk_memory_usage(at_vulkan_device(*dev)).device, 0);
    AT_CHECK_INT(at_vk_validation_errors(at_vulkan_device(*dev), NULL), 0);
    at_device_close(dev);
}

// --- a net in three phases: forward, gradient, AdamW ---------------------------------------------------------------

enum { N = 2, SIDE = 6, C = 12, PIXELS = N * SIDE * SIDE, WEIGHTS = C + C + 2 * C * C + 2 * C + 7 * C };

struct net {
    struct at_graph *g;
    struct at_store *w, *dw, *moments;
    struct at_node *x, *ids, *target, *m, *dm, *dx, *scalars;
};

static struct at_node *leaf(struct net *n, struct at_shape shape, int64_t *at)
{
    struct at_node *w = at_graph_leaf(n->g, "w", shape, n->w, n->dw, *at);
    *at += at_shape_count(shape);
    return w;
}

// The input is a view that starts at an odd element, so that nothing is aligned to four.
static struct at_node *forward(struct net *n)
{
    struct at_graph *g = n->g;
    int64_t at = 0;
    struct at_node *gamma = leaf(n, AT_SHAPE(C), &at), *beta = leaf(n, AT_SHAPE(C), &at);
    struct at_node *w = leaf(n, AT_SHAPE(2 * C, C), &at), *b = leaf(n, AT_SHAPE(2 * C), &at);
    struct at_node *table = leaf(n, AT_SHAPE(7, C), &at);
    n->x = at_graph_input(g, "x", AT_SHAPE(PIXELS * C + 3), AT_F32);
    n->ids = at_graph_input(g, "ids", AT_SHAPE(N), AT_I32);
    struct at_node *x = at_view(g, n->x, 1, AT_SHAPE(N, SIDE, SIDE, C));
    struct at_node *h =
        at_group_norm(g, x, gamma, beta, &(struct at_norm_params){.groups = 3, .eps = 1e-5f, .act = AT_ACT_SILU});
    h = at_bias(g, h, at_embed(g, table, n->ids));
    struct at_node *wide = at_bias(g, at_matmul(g, h, w, &(struct at_matmul_params){.tb = true}), b);
    h = at_add(g, at_layer_norm(g, at_geglu(g, wide), gamma, beta, 1e-5f), h);
    struct at_node *parts = at_concat(g, at_slice(g, h, 0, 5), at_act(g, at_slice(g, h, 5, C - 5), AT_ACT_GELU));
    return at_upsample(g, parts, 9, 9);
}

static void append_update(struct net *n)
{
    at_graph_next_phase(n->g);
    struct at_node *w = at_graph_leaf(n->g, "w", AT_SHAPE(WEIGHTS), n->w, NULL, 0);
    struct at_node *dw = at_graph_leaf(n->g, "dw", AT_SHAPE(WEIGHTS), n->dw, NULL, 0);
    struct at_node *moments = at_graph_leaf(n->g, "moments", AT_SHAPE(2, WEIGHTS), n->moments, NULL, 0);
    n->scalars = at_graph_input(n->g, "scalars", AT_SHAPE(8), AT_F32);
    moments = at_adamw_moments(n->g, moments, dw, n->scalars);
    at_adamw(n->g, w, moments, n->scalars);
    at_fill(n->g, dw, 0);
}

static bool net_init(struct net *n, struct at_device *dev)
{
    *n = (struct net){.g = at_graph_create(&sink)};
    n->w = at_store_create(dev, WEIGHTS, AT_USE_WEIGHTS, &sink);
    n->dw = at_store_create(dev, WEIGHTS, AT_USE_WEIGHTS, &sink);
    n->moments = at_store_create(dev, 2 * WEIGHTS, AT_USE_WEIGHTS, &sink);
    if (!n->g || !n->w || !n->dw || !n->moments)
        return false;
    struct at_node *y = forward(n);
    n->target = at_graph_input(n->g, "target", AT_SHAPE(N, 9, 9, C), AT_F32);
    n->m = at_graph_output(n->g, at_sq_err(n->g, y, n->target, NULL), "m");
    at_graph_next_phase(n->g);
    n->dm = at_graph_input(n->g, "dm", AT_SHAPE(N), AT_F32);
    struct at_seed seed = {n->m, n->dm};
    struct at_gradient_params p = {
        .seeds = &seed, .seed_count = 1, .wrt = &n->x, .dx = &n->dx, .wrt_count = 0, .recompute = {.cheap = true}};
    if (!at_graph_ok(n->g) || !at_graph_backward(n->g, &p))
        return false;
    append_update(n);
    return at_graph_ok(n->g);
}

static void net_finish(struct net *n)
{
    at_graph_destroy(&n->g);
    at_store_destroy(&n->w);
    at_store_destroy(&n->dw);
    at_store_destroy(&n->moments);
}

struct outcome {
    float m[N], w[WEIGHTS];
    int chunks;
};

// Three steps of training.
static bool net_steps(struct net *n, struct at_exec *e, struct outcome *out)
{
    static float x[PIXELS * C + 3], target[N * 81 * C], w[WEIGHTS];
    const float dm[N] = {1, -0.5f};
    float scalars[8] = {0.01f, 0.9f, 0.99f, 1e-4f, 0.01f, 0, 0, 1};
    const int32_t ids[N] = {5, 9};
    at_rng_normal(x, PIXELS * C + 3, 1, AT_STREAM_NOISE, 0);
    at_rng_normal(target, N * 81 * C, 2, AT_STREAM_NOISE, 0);
    at_rng_normal(w, WEIGHTS, 3, AT_STREAM_NOISE, 0);
    for (int i = 0; i < WEIGHTS; i++)
        w[i] *= 0.3f;
    bool ok = at_store_write(n->w, 0, w, WEIGHTS);
    for (int step = 1; ok && step <= 3; step++) {
        scalars[5] = 1 - powf(0.9f, (float)step);
        scalars[6] = 1 - powf(0.99f, (float)step);
        ok = at_exec_write(e, n->x, x) && at_exec_write(e, n->ids, ids) && at_exec_write(e, n->target, target) &&
             at_exec_run(e, 0) && at_exec_read(e, n->m, out->m) && at_exec_write(e, n->dm, dm) && at_exec_run(e, 1) &&
             at_exec_write(e, n->scalars, scalars) && at_exec_run(e, 2);
    }
    return ok && at_store_read(n->w, 0, out->w, WEIGHTS);
}

static bool net_run(struct at_device *dev, struct outcome *out)
{
    struct net n;
    memset(out, 0, sizeof(*out));
    bool ok = net_init(&n, dev);
    struct at_exec *e = ok ? at_exec_create(dev, n.g) : NULL;
    if (e)
        out->chunks = e->plan->chunks;
    ok = e && net_steps(&n, e, out);
    at_exec_destroy(&e);
    net_finish(&n);
    return ok;
}

static double distance(const float *a, const float *b, int n)
{
    double worst = 0, top = 0;
    for (int i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        top = fmax(top, fabs((double)b[i]));
    }
    return worst / top;
}

static struct outcome on_cpu, on_vulkan;

static void check_outcome(const struct outcome *o)
{
    // AdamW divides by the root of the second moment, which magnifies the rounding of small gradients.
    AT_CHECK_NEAR(distance(o->m, on_cpu.m, N), 0, 1e-5);
    AT_CHECK_NEAR(distance(o->w, on_cpu.w, WEIGHTS), 0, 1e-4);
}

static void training_agrees_with_the_cpu(void)
{
    AT_CHECK(net_run(cpu, &on_cpu) && net_run(vulkan, &on_vulkan));
    check_outcome(&on_vulkan);
    AT_CHECK_STR(said, "");
}

static void runs_repeat_bit_by_bit(void)
{
    struct outcome again;
    AT_CHECK(net_run(vulkan, &again));
    AT_CHECK(memcmp(again.m, on_vulkan.m, sizeof(again.m)) == 0 && memcmp(again.w, on_vulkan.w, sizeof(again.w)) == 0);
}

static void a_small_device_gives_the_same(void)
{
    static const char *const limits[][2] = {
        {"ATTUNE_VK_MAX_ALLOC", "24K"}, {"ATTUNE_VK_NO_SUBGROUP", "1"}, {"ATTUNE_VK_MAX_WORKGROUP", "16"}};
    for (size_t i = 0; i < 3; i++) {
        struct outcome o;
        setenv(limits[i][0], limits[i][1], 1);
        struct at_device *dev = open_device();
        unsetenv(limits[i][0]);
        AT_CHECK(dev && net_run(dev, &o));
        check_outcome(&o);
        if (i == 0) {
            AT_CHECK(o.chunks > on_vulkan.chunks);
            AT_CHECK(memcmp(o.w, on_vulkan.w, sizeof(o.w)) == 0);
        }
        close_clean(&dev);
        AT_CHECK_STR(said, "");
    }
}

// --- order ---------------------------------------------------------------------------------------------------------

static int barriers_of(struct at_graph *g)
{
    struct at_exec *e = at_exec_create(vulkan, g);
    int n = e ? at_vulkan_barriers(e->run, 0) : -1;
    at_exec_destroy(&e);
    at_graph_destroy(&g);
    return n;
}

static void barriers_stand_only_between_dependent_steps(void)
{
    struct at_graph *g = at_graph_create(&sink);
    struct at_node *x = at_graph_output(g, at_graph_input(g, "x", AT_SHAPE(100), AT_F32), "x"); // not overwritten
    for (int i = 0; i < 4; i++)
        at_graph_output(g, at_scale(g, x, (float)i, 1), "y");
    AT_CHECK_INT(barriers_of(g), 0);

    g = at_graph_create(&sink);
    x = at_graph_output(g, at_graph_input(g, "x", AT_SHAPE(100), AT_F32), "x");
    struct at_node *a = at_graph_output(g, at_scale(g, x, 2, 1), "a"), *b = at_scale(g, x, 3, 1);
    at_graph_output(g, at_mul(g, a, b), "z"); // after both
    AT_CHECK_INT(barriers_of(g), 1);

    g = at_graph_create(&sink);
    x = at_graph_input(g, "x", AT_SHAPE(100), AT_F32);
    for (int i = 0; i < 5; i++)
        x = at_scale(g, x, 2, 1);
    at_graph_output(g, x, "y");
    AT_CHECK_INT(barriers_of(g), 4);

    // A store is read, and then overwritten.
    struct at_store *s = at_store_create(vulkan, 100, AT_USE_WEIGHTS, &sink);
    g = at_graph_create(&sink);
    struct at_node *w = at_graph_leaf(g, "w", AT_SHAPE(100), s, NULL, 0);
    at_graph_output(g, at_scale(g, w, 2, 1), "y");
    at_fill(g, w, 3);
    AT_CHECK_INT(barriers_of(g), 1);
    at_store_destroy(&s);
    AT_CHECK_STR(said, "");
}

static void many_independent_steps_are_right(void)
{
    enum { MANY = 700 }; // more than one submission, more accesses than are remembered
    struct at_graph *g = at_graph_create(&sink);
    struct at_node *x = at_graph_input(g, "x", AT_SHAPE(5), AT_F32), *y[MANY];
    for (int i = 0; i < MANY; i++)
        y[i] = at_graph_output(g, at_scale(g, i % 7 ? x : i ? y[i - 1] : x, 1, (float)i), "y");
    struct at_exec *e = at_exec_create(vulkan, g);
    const float in[5] = {0, 1, 2, 3, 4};
    AT_CHECK(e && at_exec_write(e, x, in) && at_exec_run(e, 0));
    for (int i = 0; e && i < MANY; i++) {
        float out[5] = {0};
        AT_CHECK(at_exec_read(e, y[i], out));
        AT_CHECK_NEAR(out[4], 4 + i + (i % 7 || !i ? 0 : i - 1), 0);
    }
    at_exec_destroy(&e);
    at_graph_destroy(&g);
}

// A workgroup a row, and more rows than a grid has workgroups in one direction.
static void more_rows_than_a_grid_is_wide(void)
{
    enum { ROWS = 66001, ALL = ROWS * 4 };
    static float x[ALL], y[2][ALL], w[2 * 4], dw[2][2 * 4];
    at_rng_normal(x, ALL, 5, AT_STREAM_NOISE, 0);
    at_rng_normal(w, 2 * 4, 6, AT_STREAM_NOISE, 0);
    struct at_device *devices[] = {vulkan, cpu};
    for (int d = 0; d < 2; d++) {
        struct at_graph *g = at_graph_create(&sink);
        struct at_node *in = at_graph_input(g, "x", AT_SHAPE(ROWS, 4), AT_F32);
        struct at_node *gb = at_graph_input(g, "w", AT_SHAPE(2, 4), AT_F32);
        struct at_node *gamma = at_view(g, gb, 0, AT_SHAPE(4)), *beta = at_view(g, gb, 4, AT_SHAPE(4));
        struct at_node *out = at_graph_output(g, at_layer_norm(g, in, gamma, beta, 1e-3f), "y");
        struct at_node *grad = at_graph_output(g, at_layer_norm_dw(g, out, in, 1e-3f), "dw");
        struct at_exec *e = at_exec_create(devices[d], g);
        AT_CHECK(e && at_exec_write(e, in, x) && at_exec_write(e, gb, w) && at_exec_run(e, 0) &&
                 at_exec_read(e, out, y[d]) && at_exec_read(e, grad, dw[d]));
        at_exec_destroy(&e);
        at_graph_destroy(&g);
    }
    AT_CHECK_NEAR(distance(y[0], y[1], ALL), 0, 2e-6);
    AT_CHECK_NEAR(distance(dw[0], dw[1], 2 * 4), 0, 1e-5);
}

static void memory_starts_as_zero(void)
{
    struct at_store *s = at_store_create(vulkan, 1000, AT_USE_WEIGHTS, &sink);
    float v[1000];
    memset(v, 1, sizeof(v));
    AT_CHECK(s && at_store_read(s, 0, v, 1000));
    for (int i = 0; i < 1000; i++)
        AT_CHECK(v[i] == 0);
    AT_CHECK(at_store_write(s, 998, (float[]){5, 6}, 2) && at_store_read(s, 997, v, 3));
    AT_CHECK(v[0] == 0 && v[1] == 5 && v[2] == 6);
    at_store_destroy(&s);
}

// --- refusals ------------------------------------------------------------------------------------------------------

static void an_op_without_kernels_is_named(void)
{
    struct at_op op = at_op_add;
    op.vulkan = NULL;
    struct at_graph *g = at_graph_create(&sink);
    struct at_node *x = at_graph_input(g, "x", AT_SHAPE(4), AT_F32);
    at_graph_output(g, at_graph_append(g, &op, (struct at_node *[]){x, x}, 2, NULL, NULL), "y");
    AT_CHECK(!at_exec_create(vulkan, g));
    AT_CHECK(says("op add runs on the CPU only"));
    at_graph_destroy(&g);
    AT_CHECK_INT(vulkan->allocated, 0);
}

static void a_tensor_beyond_31_bits_is_refused(void)
{
    int64_t count = (int64_t)1 << 31;
    struct at_store *s = at_store_create(NULL, count, AT_USE_WEIGHTS, &sink); // no memory behind it
    struct at_graph *g = at_graph_create(&sink);
    at_fill(g, at_graph_leaf(g, "w", AT_SHAPE(count), s, NULL, 0), 1);
    struct at_plan *plan = at_plan_create(g, &(struct at_plan_params){.real_size = 4});
    AT_CHECK(plan && !vulkan->api->compile(vulkan, plan, NULL));
    AT_CHECK_INT(sink.error, AT_ERROR_DEVICE);
    AT_CHECK(says("2147483648 elements"));
    at_plan_destroy(&plan);
    at_graph_destroy(&g);
    at_store_destroy(&s);
}

static void too_little_memory_is_said_in_mib(void)
{
    setenv("ATTUNE_VK_HEAP", "8M", 1);
    struct at_device *dev = open_device();
    unsetenv("ATTUNE_VK_HEAP");
    struct at_store *a = at_store_create(dev, 1 << 20, AT_USE_WEIGHTS, &sink), *b = at_store_create(dev, 3 << 19, AT_USE_WEIGHTS, &sink);
    AT_CHECK(a && !b);
    AT_CHECK_INT(sink.error, AT_ERROR_DEVICE);
    AT_CHECK(says("6 MiB"));
    struct at_graph *g = at_graph_create(&sink);
    at_graph_output(g, at_scale(g, at_graph_input(g, "x", AT_SHAPE(3 << 19), AT_F32), 1, 2), "y");
    AT_CHECK(!at_exec_create(dev, g));
    AT_CHECK(says("MiB"));
    at_graph_destroy(&g);
    at_store_destroy(&a);
    close_clean(&dev);
}

// --- faults --------------------------------------------------------------------------------------------------------

// Builds, runs and reads a graph of two phases.
static bool two_phases(struct at_device *dev, struct at_graph *g, struct at_store *s)
{
    struct at_node *x = at_graph_input(g, "x", AT_SHAPE(2, 20), AT_F32);
    struct at_node *w = at_graph_leaf(g, "w", AT_SHAPE(2, 20), s, NULL, 0);
    struct at_node *y = at_graph_output(g, at_sum_rows(g, at_mul(g, x, w), false), "y");
    at_graph_next_phase(g);
    at_accumulate(g, w, x);
    struct at_exec *e = at_graph_ok(g) ? at_exec_create(dev, g) : NULL;
    float in[40], out[20] = {0};
    for (int i = 0; i < 40; i++)
        in[i] = (float)i;
    bool ok = e && at_exec_write(e, x, in) && at_exec_run(e, 1) && at_exec_write(e, x, in) && at_exec_run(e, 0) &&
              at_exec_read(e, y, out);
    AT_CHECK(!ok || out[3] == 3 * 3 + 23 * 23);
    at_exec_destroy(&e);
    return ok;
}

// The whole life of a device; false when something failed.
static bool scenario(void)
{
    struct at_device *dev = open_device();
    if (!dev)
        return false;
    struct at_graph *g = at_graph_create(&sink);
    struct at_store *s = at_store_create(dev, 40, AT_USE_WEIGHTS, &sink);
    bool ok = g && s && two_phases(dev, g, s);
    at_store_destroy(&s);
    at_graph_destroy(&g);
    close_clean(&dev);
    return ok;
}

static void every_vulkan_call_may_fail(void)
{
    size_t n = 1;
    for (bool done = false; !done && n < 500; n++) {
        at_vk_fail_at(n, n % 2 ? AT_VK_FAULT_MEMORY : AT_VK_FAULT_LOST);
        bool ok = scenario();
        done = !at_vk_failed();
        at_vk_fail_at(0, AT_VK_FAULT_MEMORY);
        if (!AT_CHECK(ok == done))
            printf("  at call %zu: %s\n", n, said);
        if (!done)
            AT_CHECK_INT(sink.error, AT_ERROR_DEVICE);
        if (strstr(said, "Vulkan validation"))
            AT_CHECK_STR(said, "no error of the validation layer");
        forget();
    }
    AT_CHECK(n > 60 && n < 500);
    printf("%zu Vulkan calls failed in turn\n", n - 2);
}

static void every_allocation_may_fail(void)
{
    size_t n = 1;
    unsetenv("ATTUNE_VK_VALIDATE"); // most of a device's opening
    for (bool done = false; !done && n < 500; n++) {
        at_alloc_fail_at(n, false);
        bool ok = scenario();
        done = !at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(!done || ok);
        forget();
    }
    AT_CHECK(n > 20 && n < 500);
}

// Keeps a library for good, so that a leak checker can tell the driver's memory from ours after it was closed.
static int keep_loaded(struct dl_phdr_info *info, size_t size, void *priv)
{
    (void)size;
    (void)priv;
    if (info->dlpi_name[0] == '/')
        (void)dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NODELETE);
    return 0;
}

int main(void)
{
    setenv("ATTUNE_VK_VALIDATE", "1", 1);
    vulkan = open_device();
    cpu = at_cpu_open(&(struct at_cpu_params){.threads = 1}, &sink);
    if (!vulkan) {
        printf("skipped: %s\n", said);
        at_device_close(&cpu);
        return AT_SKIP;
    }
    dl_iterate_phdr(keep_loaded, NULL);
    AT_CHECK(cpu != NULL);
    AT_RUN(training_agrees_with_the_cpu);
    AT_RUN(runs_repeat_bit_by_bit);
    AT_RUN(a_small_device_gives_the_same);
    AT_RUN(barriers_stand_only_between_dependent_steps);
    AT_RUN(many_independent_steps_are_right);
    AT_RUN(more_rows_than_a_grid_is_wide);
    AT_RUN(memory_starts_as_zero);
    AT_RUN(an_op_without_kernels_is_named);
    AT_RUN(a_tensor_beyond_31_bits_is_refused);
    AT_RUN(too_little_memory_is_said_in_mib);
    AT_RUN(every_vulkan_call_may_fail);
    close_clean(&vulkan);
    AT_RUN(every_allocation_may_fail);
    at_device_close(&cpu);
    return at_test_end();
}
