// SPDX-License-Identifier: Apache-2.0
// Stores of halves: what is written comes back as it must, sizes follow, and operators take them or say so.
#include "core/base/half.h"
#include "core/cpu/cpu.h"
#include "core/graph/device.h"
#include "core/graph/dry.h"
#include "core/ops/build.h"
#include "tests/harness.h"
#include "tests/unit/capture.h"

#include <math.h>

#define N 20000 // more than is converted at a time

static struct capture heard;

static struct at_device *open_cpu(bool oracle)
{
    return at_cpu_open(&(struct at_cpu_params){.threads = 1, .oracle = oracle}, capture_start(&heard));
}

static void every_half_comes_back(void)
{
    static uint16_t bits[0x10000];
    static float values[0x10000];
    for (int oracle = 0; oracle < 2; oracle++)
        for (enum at_dtype type = AT_F16; type <= AT_BF16; type++) {
            struct at_device *dev = open_cpu(oracle);
            struct at_store *s = at_store_create_typed(dev, 0x10000, type, AT_USE_WEIGHTS, dev->log);
            for (int i = 0; i < 0x10000; i++)
                bits[i] = (uint16_t)i;
            AT_CHECK(s && at_store_write_bits(s, 0, bits, 0x10000) && at_store_read(s, 0, values, 0x10000));
            int wrong = 0;
            for (int i = 0; i < 0x10000; i++) {
                float want = type == AT_F16 ? at_f32_from_f16((uint16_t)i) : at_f32_from_bf16((uint16_t)i);
                wrong += !(values[i] == want || (isnan(values[i]) && isnan(want)));
            }
            AT_CHECK_INT(wrong, 0);
            at_store_destroy(&s);
            at_device_close(&dev);
        }
}

static void floats_are_rounded_to_even(void)
{
    struct at_device *dev = open_cpu(false);
    struct at_store *s = at_store_create_typed(dev, N, AT_F16, AT_USE_WEIGHTS, dev->log);
    static float x[N], y[N];
    for (int i = 0; i < N; i++)
        x[i] = 1 + (float)(i % 64) * 0x1p-12f; // f16 has 10 bits behind the point
    AT_CHECK(s && at_store_write(s, 0, x, N) && at_store_read(s, 0, y, N));
    int wrong = 0;
    for (int i = 0; i < N; i++)
        wrong += y[i] != 1 + (float)(rintf((float)(i % 64) / 4)) * 0x1p-10f;
    AT_CHECK_INT(wrong, 0);
    AT_CHECK(at_store_write(s, N - 2, (float[]){5, -6}, 2) && at_store_read(s, N - 3, y, 3));
    AT_CHECK_NEAR(y[0], 1 + rintf((float)((N - 3) % 64) / 4) * 0x1p-10f, 0);
    AT_CHECK(y[1] == 5 && y[2] == -6);
    at_store_destroy(&s);
    at_device_close(&dev);
}

static void memory_is_counted_by_type(void)
{
    struct at_device *dev = open_cpu(false), *oracle = open_cpu(true), *dry = at_dry_open(dev, dev->log);
    struct at_device *all[] = {dev, oracle, dry};
    for (int i = 0; i < 3; i++) {
        struct at_store *half = at_store_create_typed(all[i], 1000, AT_BF16, AT_USE_WEIGHTS, dev->log);
        AT_CHECK_INT((int)all[i]->used[AT_USE_WEIGHTS], 2000);
        struct at_store *full = at_store_create(all[i], 1000, AT_USE_WEIGHTS, dev->log);
        AT_CHECK_INT((int)all[i]->allocated, 2000 + 1000 * (int)all[i]->real_size);
        at_store_destroy(&half);
        at_store_destroy(&full);
        AT_CHECK_INT((int)all[i]->allocated, 0);
    }
    at_device_close(&dry);
    at_device_close(&oracle);
    at_device_close(&dev);
}

static void who_cannot_take_halves_says_so(void)
{
    struct at_device *dev = open_cpu(false);
    struct at_store *s = at_store_create_typed(dev, 64, AT_F16, AT_USE_WEIGHTS, dev->log);
    struct at_store *grad = at_store_create(dev, 64, AT_USE_GRADIENTS, dev->log);
    struct at_graph *g = at_graph_create(capture_start(&heard));
    struct at_node *w = at_graph_leaf(g, "layer.weight", AT_SHAPE(8, 8), s, NULL, 0);
    struct at_node *x = at_graph_input(g, "x", AT_SHAPE(8, 8), AT_F32);
    AT_CHECK(w && w->dtype == AT_F16 && at_matmul(g, x, w, &(struct at_matmul_params){0}));
    AT_CHECK(!at_add(g, x, w) && strstr(heard.text, "add: input 1, layer.weight is of f16"));
    at_graph_destroy(&g);
    g = at_graph_create(capture_start(&heard));
    AT_CHECK(!at_graph_leaf(g, "layer.weight", AT_SHAPE(8, 8), s, grad, 0));
    AT_CHECK(strstr(heard.text, "layer.weight: a weight of f16 cannot be trained"));
    at_graph_destroy(&g);
    at_store_destroy(&s);
    at_store_destroy(&grad);
    at_device_close(&dev);
}

int main(void)
{
    AT_RUN(every_half_comes_back);
    AT_RUN(floats_are_rounded_to_even);
    AT_RUN(memory_is_counted_by_type);
    AT_RUN(who_cannot_take_halves_says_so);
    return at_test_end();
}
