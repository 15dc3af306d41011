// SPDX-License-Identifier: Apache-2.0
// The guard: a run stops at the first op that makes a value that is not finite, and the message names its layer.
// Argument: cpu or vulkan.
#include "core/cpu/cpu.h"
#include "core/graph/device.h"
#include "core/graph/gradient.h"
#include "core/models/builder.h"
#include "core/vulkan/device.h"
#include "core/vulkan/executor.h"
#include "tests/harness.h"

#include <stdlib.h>

enum { N = 3, WIDTH = 1025 };

static char said[512]; // the first error

static void hear(void *priv, enum at_level level, const char *text)
{
    (void)priv;
    if (level == AT_LEVEL_ERROR && !said[0])
        snprintf(said, sizeof(said), "%s", text);
}

static struct at_log sink = {.write = hear};
static struct at_device *dev;

// Two linear layers whose weights are `first` and `second` everywhere, and the gradient of x in phase 1.
struct net {
    struct at_params *params;
    struct at_graph *g;
    struct at_node *x, *y, *dy, *dx;
    struct at_exec *exec;
    float in[N * WIDTH], seed[N * WIDTH];
};

static struct at_node *build(struct net *n)
{
    struct at_builder b = {.g = n->g, .params = n->params};
    at_scope_push(&b, "block.%d", 7);
    struct at_node *h = at_build_linear(&b, "first", n->x, WIDTH, false);
    struct at_node *y = at_build_linear(&b, "second", at_scale(n->g, h, 1, 0), WIDTH, false);
    at_scope_pop(&b);
    return y;
}

static bool declare(struct net *n)
{
    n->g = at_graph_create(&sink);
    n->x = at_graph_input(n->g, "x", AT_SHAPE(N, WIDTH), AT_F32);
    return build(n) && at_params_allocate(n->params, dev, 0);
}

static bool open_net(struct net *n, float first, float second)
{
    *n = (struct net){.params = at_params_create(&sink)};
    bool ok = n->params && declare(n);
    at_graph_destroy(&n->g);
    float *w = ok ? malloc((size_t)n->params->total * sizeof(float)) : NULL;
    for (int64_t i = 0; w && i < n->params->total; i++)
        w[i] = i < n->params->total / 2 ? first : second;
    ok = ok && w && at_params_write(n->params, w);
    free(w);
    n->g = at_graph_create(&sink);
    n->x = at_graph_input(n->g, "x", AT_SHAPE(N, WIDTH), AT_F32);
    n->y = at_graph_output(n->g, build(n), "y");
    at_graph_next_phase(n->g);
    n->dy = at_graph_input(n->g, "dy", AT_SHAPE(N, WIDTH), AT_F32);
    struct at_seed seed = {n->y, n->dy};
    struct at_gradient_params p = {.seeds = &seed, .seed_count = 1, .wrt = &n->x, .wrt_count = 1, .dx = &n->dx};
    ok = ok && at_graph_backward(n->g, &p) && at_graph_output(n->g, n->dx, "dx");
    for (int i = 0; i < N * WIDTH; i++)
        n->in[i] = n->seed[i] = (float)(i % 5 + 1);
    return ok && (n->exec = at_exec_create(dev, n->g)) && at_exec_write(n->exec, n->x, n->in) &&
           at_exec_write(n->exec, n->dy, n->seed);
}

static void close_net(struct net *n)
{
    at_exec_destroy(&n->exec);
    at_graph_destroy(&n->g);
    at_params_destroy(&n->params);
    said[0] = 0;
    sink.error = AT_ERROR_NONE;
}

static bool says(const char *part)
{
    bool ok = strstr(said, part) != NULL;
    if (!ok)
        printf("  the log says \"%s\", not \"%s\"\n", said, part);
    return ok;
}

static void the_first_layer_is_named(void)
{
    struct net n;
    AT_CHECK(open_net(&n, 1e38f, 1) && !at_exec_run(n.exec, 0) && says("matmul in block.7.first, (3,1025)"));
    AT_CHECK_INT(sink.error, AT_ERROR_FAILED);
    close_net(&n);
    AT_CHECK(open_net(&n, 1e20f, 1e20f) && !at_exec_run(n.exec, 0) && says("matmul in block.7.second, (3,1025)"));
    close_net(&n);
}

// One value of many, wherever it stands.
static void one_value_is_enough(void)
{
    for (int at = 0; at < N * WIDTH; at += 331) {
        struct net n;
        AT_CHECK(open_net(&n, 0, 1));
        float big[N * WIDTH] = {0};
        big[at] = 3e38f;
        struct at_graph *g = at_graph_create(&sink);
        struct at_node *x = at_graph_input(g, "x", AT_SHAPE(N, WIDTH), AT_F32);
        struct at_node *y = at_graph_output(g, at_scale(g, x, 2, 0), "y");
        struct at_exec *e = at_exec_create(dev, g);
        AT_CHECK(y && e && at_exec_write(e, x, big) && !at_exec_run(e, 0) && says("scale, (3,1025)"));
        at_exec_destroy(&e);
        at_graph_destroy(&g);
        close_net(&n);
    }
}

static void gradients_are_watched(void)
{
    struct net n;
    AT_CHECK(open_net(&n, 1e15f, 1e15f) && at_exec_run(n.exec, 0));
    for (int i = 0; i < N * WIDTH; i++)
        n.seed[i] = 1e4f;
    AT_CHECK(at_exec_write(n.exec, n.dy, n.seed) && !at_exec_run(n.exec, 1) &&
             says("in the gradient of block.7.first, (3,1025)"));
    close_net(&n);
}

// After a failure the same plan runs again, and what is finite passes.
static void what_is_finite_passes(void)
{
    struct net n;
    AT_CHECK(open_net(&n, 1e15f, 1e15f));
    float fine[N * WIDTH], huge[N * WIDTH], y[N * WIDTH];
    for (int i = 0; i < N * WIDTH; i++) {
        fine[i] = 1e-3f;
        huge[i] = 1e10f;
    }
    AT_CHECK(at_exec_write(n.exec, n.x, huge) && !at_exec_run(n.exec, 0));
    AT_CHECK(at_exec_write(n.exec, n.x, fine) && at_exec_run(n.exec, 0) && at_exec_read(n.exec, n.y, y) && y[5] > 1e32f);
    close_net(&n);
    dev->guard = false; // without it nothing is looked at
    AT_CHECK(open_net(&n, 1e38f, 1) && at_exec_run(n.exec, 0));
    close_net(&n);
    dev->guard = true;
}

// Halves hold up to 65504, to which what is below 65520 is rounded.
static void halves_are_watched(void)
{
    const float factors[] = {65504, 65519, 65520, -70000};
    for (int i = 0; i < 4; i++) {
        float one[32] = {0}, y[32];
        one[i * 7] = 1;
        struct at_graph *g = at_graph_create(&sink);
        struct at_node *x = at_graph_input(g, "x", AT_SHAPE(2, 4, 4), AT_F32), *half = at_scale(g, x, factors[i], 0);
        struct at_node *out = at_graph_output(g, at_scale(g, half, 0.5f, 0), "y");
        struct at_exec *e = at_exec_create(dev, g);
        AT_CHECK(out && e && half->dtype == AT_F16 && at_exec_write(e, x, one));
        AT_CHECK(at_exec_run(e, 0) == (i < 2));
        AT_CHECK(i < 2 ? at_exec_read(e, out, y) && y[i * 7] == 32752 : says("scale, (2,4,4)") && says("65504"));
        at_exec_destroy(&e);
        at_graph_destroy(&g);
        said[0] = 0;
        sink.error = AT_ERROR_NONE;
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "vulkan") == 0) {
        setenv("ATTUNE_VK_VALIDATE", "1", 1);
        dev = at_vulkan_open(&(struct at_vulkan_params){.select = getenv("ATTUNE_TEST_DEVICE")}, &sink);
    } else {
        dev = at_cpu_open(&(struct at_cpu_params){.threads = 2}, &sink);
    }
    if (!dev) {
        printf("skipped: %s\n", said);
        return AT_SKIP;
    }
    dev->guard = true;
    AT_RUN(the_first_layer_is_named);
    AT_RUN(one_value_is_enough);
    AT_RUN(gradients_are_watched);
    AT_RUN(what_is_finite_passes);
    if (strcmp(dev->kind, "vulkan") == 0) {
        dev->activations = AT_F16;
        AT_RUN(halves_are_watched);
        AT_CHECK_INT(at_vk_validation_errors(at_vulkan_device(dev), NULL), 0);
    }
    at_device_close(&dev);
    return at_test_end();
}
