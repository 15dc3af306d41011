// SPDX-License-Identifier: Apache-2.0
// Weights in host memory: a plan that fetches them computes the same as one that has them on the device, and takes the
// device's memory for one at a time.
#include "core/base/rng.h"
#include "core/graph/dry.h"
#include "core/graph/gradient.h"
#include "core/models/builder.h"
#include "core/ops/build.h"
#include "core/ops/op.h"
#include "core/vulkan/device.h"
#include "core/vulkan/executor.h"
#include "core/vulkan/memory.h"
#include "tests/harness.h"
#include "tests/unit/capture.h"

#include <stdlib.h>

enum { ROWS = 5, WIDTH = 67, LAYERS = 6, MATRIX = WIDTH * WIDTH, STRIDE = (MATRIX + 63) / 64 * 64 };

static struct capture heard;
static struct at_device *vulkan;

struct chain {
    struct at_store *store;
    struct at_graph *g;
    struct at_node *x, *y, *dy, *dx;
    struct at_exec *exec;
};

// y = x W1^T ... W6^T, and dx for a given dy in phase 1.
static bool build(struct chain *c, struct at_device *dev, bool host)
{
    c->g = at_graph_create(dev->log);
    c->x = at_graph_input(c->g, "x", AT_SHAPE(ROWS, WIDTH), AT_F32);
    struct at_node *y = c->x;
    for (int i = 0; i < LAYERS; i++) {
        struct at_node *w = at_graph_leaf(c->g, "w", AT_SHAPE(WIDTH, WIDTH), c->store, NULL, i * STRIDE);
        y = at_matmul(c->g, y, host ? at_fetch(c->g, w) : w, &(struct at_matmul_params){.tb = true});
    }
    c->y = at_graph_output(c->g, y, "y");
    at_graph_next_phase(c->g);
    c->dy = at_graph_input(c->g, "dy", AT_SHAPE(ROWS, WIDTH), AT_F32);
    struct at_seed seed = {c->y, c->dy};
    struct at_gradient_params p = {.seeds = &seed, .seed_count = 1, .wrt = &c->x, .wrt_count = 1, .dx = &c->dx,
                                   .recompute = {.cheap = true}};
    return at_graph_backward(c->g, &p) && at_graph_output(c->g, c->dx, "dx") && (c->exec = at_exec_create(dev, c->g));
}

static bool open_chain(struct chain *c, struct at_device *dev, enum at_dtype type, bool host)
{
    static float w[LAYERS * STRIDE];
    at_rng_normal(w, LAYERS * STRIDE, 3, AT_STREAM_MAKE, 0);
    for (int i = 0; i < LAYERS * STRIDE; i++)
        w[i] *= 0.12f;
    *c = (struct chain){0};
    c->store = at_store_create_typed(dev, LAYERS * STRIDE, type, host ? AT_USE_HOST : AT_USE_WEIGHTS, dev->log);
    return c->store && at_store_write(c->store, 0, w, LAYERS * STRIDE) && build(c, dev, host);
}

static void close_chain(struct chain *c)
{
    at_exec_destroy(&c->exec);
    at_graph_destroy(&c->g);
    at_store_destroy(&c->store);
}

// y and dx.
static bool run(struct chain *c, float out[2][ROWS * WIDTH])
{
    static float x[ROWS * WIDTH];
    at_rng_normal(x, ROWS * WIDTH, 4, AT_STREAM_MAKE, 0);
    return at_exec_write(c->exec, c->x, x) && at_exec_write(c->exec, c->dy, x) && at_exec_run(c->exec, 0) &&
           at_exec_read(c->exec, c->y, out[0]) && at_exec_run(c->exec, 1) && at_exec_read(c->exec, c->dx, out[1]);
}

static void the_same_comes_out(void)
{
    for (enum at_dtype type = AT_F32; type <= AT_BF16; type++) {
        if (type == AT_I32)
            continue;
        float out[2][2][ROWS * WIDTH];
        for (int host = 0; host < 2; host++) {
            struct chain c;
            AT_CHECK(open_chain(&c, vulkan, type, host) && run(&c, out[host]));
            close_chain(&c);
        }
        AT_CHECK(memcmp(out[0], out[1], sizeof(out[0])) == 0);
        AT_CHECK(out[0][0][7] != 0);
    }
}

// Of the six matrices no more than two are on the device at any time.
static void memory_is_counted_apart(void)
{
    struct at_device *dry = at_dry_open(vulkan, vulkan->log);
    size_t matrix = (size_t)MATRIX * 4, all = (size_t)LAYERS * STRIDE * 4;
    struct at_device *devices[] = {dry, vulkan};
    size_t tensors[2];
    for (int i = 0; i < 2; i++) {
        struct at_device *dev = devices[i];
        size_t before = dev->allocated;
        struct chain c;
        AT_CHECK(open_chain(&c, dev, AT_F32, true));
        tensors[i] = dev->allocated - before;
        AT_CHECK(tensors[i] > matrix && tensors[i] < 2 * matrix + 16384);
        AT_CHECK_INT((int)dev->used[AT_USE_HOST], (int)all);
        AT_CHECK_INT((int)dev->peak_used[AT_USE_HOST], (int)all);
        AT_CHECK_INT((int)dev->used[AT_USE_WEIGHTS], 0);
        close_chain(&c);
        AT_CHECK_INT((int)dev->used[AT_USE_HOST], 0);
        AT_CHECK_INT((int)dev->allocated, (int)before);
    }
    AT_CHECK_INT((int)tensors[0], (int)tensors[1]);
    at_device_close(&dry);
}

// Rows of a table in host memory are read where they lie: it never comes to the device.
static void tables_are_not_fetched(void)
{
    enum { TABLE = 4096, IDS = 7 };
    static const int32_t ids[IDS] = {0, 4095, 17, 4094, 17, 2000, 1};
    for (enum at_weights type = AT_WEIGHTS_F32; type <= AT_WEIGHTS_BF16; type++) {
        static float out[2][IDS * WIDTH];
        for (int host = 0; host < 2; host++) {
            size_t before = vulkan->allocated;
            struct at_params *p = at_params_create(vulkan->log);
            struct at_node *y = NULL, *in = NULL;
            struct at_graph *g = NULL;
            vulkan->offload = host;
            for (int round = 0; round < 2; round++) { // declared, then with memory
                at_graph_destroy(&g);
                g = at_graph_create(vulkan->log);
                in = at_graph_input(g, "ids", AT_SHAPE(IDS), AT_I32);
                struct at_builder b = {.g = g, .params = p};
                y = at_graph_output(g, at_build_embedding(&b, "token", in, TABLE, WIDTH, 1), "y");
                at_params_choose_types(p, type, NULL, "");
                AT_CHECK(round || (at_params_allocate(p, vulkan, 0) && at_params_init(p, 3)));
            }
            struct at_exec *exec = at_exec_create(vulkan, g);
            AT_CHECK(exec && at_exec_write(exec, in, ids) && at_exec_run(exec, 0) && at_exec_read(exec, y, out[host]));
            for (int i = 0; exec && i < exec->plan->count; i++)
                AT_CHECK(strcmp(exec->plan->steps[i].node->op->name, "fetch") != 0);
            AT_CHECK(!host || vulkan->allocated - before < 65536);
            at_exec_destroy(&exec);
            at_graph_destroy(&g);
            at_params_destroy(&p);
        }
        vulkan->offload = false;
        AT_CHECK(memcmp(out[0], out[1], sizeof(out[0])) == 0 && out[0][3] != 0);
    }
}

int main(void)
{
    setenv("ATTUNE_VK_VALIDATE", "1", 1);
    vulkan = at_vulkan_open(&(struct at_vulkan_params){.select = getenv("ATTUNE_TEST_DEVICE")}, capture_start(&heard));
    if (!vulkan) {
        printf("skipped: no Vulkan device\n");
        return AT_SKIP;
    }
    AT_RUN(the_same_comes_out);
    AT_RUN(memory_is_counted_apart);
    AT_RUN(tables_are_not_fetched);
    AT_CHECK_INT(at_vk_memory_usage(at_vulkan_device(vulkan)).device, 0);
    AT_CHECK_INT(at_vk_validation_errors(at_vulkan_device(vulkan), NULL), 0);
    at_device_close(&vulkan);
    return at_test_end();
}
