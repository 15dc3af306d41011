// SPDX-License-Identifier: Apache-2.0
// Whole jobs on a Vulkan device that plays a small one, under the validation layer: the CPU's picture and losses.
#include "tests/pipeline/tiny.h"

#include "core/vulkan/device.h"
#include "core/vulkan/executor.h"

#define PIXELS (TINY_SIDE * TINY_SIDE * 3)
#define STEPS 2

struct limit {
    const char *name, *value; // of the environment; NULL: none
    bool sample_only;
    int chunks; // that an arena must be split into
};

struct outcome {
    float pixels[PIXELS];
    double loss[STEPS], error[STEPS], norm;
};

static struct capture capture;
static struct outcome on_cpu, here;

// The largest number of parts that an arena has been split into.
static int chunks;
static struct at_device_api spy;
static const struct at_device_api *spied;

static struct at_run *compile(struct at_device *dev, const struct at_plan *plan, struct at_buffer *const *arena)
{
    chunks = plan->chunks > chunks ? plan->chunks : chunks;
    return spied->compile(dev, plan, arena);
}

static struct at_device *open_small(const struct limit *limit)
{
    if (limit->name)
        setenv(limit->name, limit->value, 1);
    struct at_device *dev =
        at_vulkan_open(&(struct at_vulkan_params){.select = getenv("ATTUNE_TEST_DEVICE")}, capture_start(&capture));
    if (limit->name)
        unsetenv(limit->name);
    if (!dev)
        return NULL;
    spied = dev->api;
    spy = *spied;
    spy.compile = compile;
    dev->api = &spy;
    chunks = 0;
    return dev;
}

static bool draw(struct at_device *dev, struct outcome *o)
{
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = tiny_path("model")}, dev->log);
    struct at_sample_item item = {.prompt = "a red ball", .seed = 1};
    bool ok = m && at_sample(m, &(struct at_sample_params){.items = &item, .count = 1, .steps = 2, .cfg = 3}, o->pixels,
                             NULL);
    at_model_destroy(&m);
    return ok;
}

static bool train(struct at_device *dev, const char *run, struct outcome *o)
{
    struct at_train_dpo_params p = tiny_dpo(run, STEPS);
    p.train.lr = 1e-2;
    bool ok = at_train_dpo(dev, &p, dev->log);
    for (int i = 0; i < STEPS; i++) {
        o->loss[i] = tiny_metric(run, i + 1, "loss");
        o->error[i] = tiny_metric(run, i + 1, "policy_win");
    }
    o->norm = tiny_metric(run, STEPS, "grad_norm");
    return ok;
}

static void compare(const struct limit *limit)
{
    double d = tiny_distance(here.pixels, on_cpu.pixels, PIXELS);
    printf("%s=%s: %d chunks, pixels differ by %.1e", limit->name ? limit->name : "no limit",
           limit->name ? limit->value : "", chunks, d);
    AT_CHECK_NEAR(d, 0, 1e-3);
    for (int i = 0; i < STEPS && !limit->sample_only; i++) {
        printf(", loss %d by %.1e", i + 1, fabs(here.loss[i] - on_cpu.loss[i]));
        AT_CHECK_NEAR(here.loss[i], on_cpu.loss[i], 1e-3);
        AT_CHECK_NEAR(here.error[i] / on_cpu.error[i], 1, 1e-3);
    }
    if (!limit->sample_only)
        AT_CHECK_NEAR(here.norm / on_cpu.norm, 1, 1e-2);
    printf("\n");
    AT_CHECK(chunks >= limit->chunks);
}

static void as_on_the_cpu(const struct limit *limit)
{
    struct at_device *dev = open_small(limit);
    here = (struct outcome){.norm = NAN};
    if (AT_CHECK(dev && draw(dev, &here) && (limit->sample_only || train(dev, scratch_path("small"), &here))))
        compare(limit);
    else
        printf("%s\n", capture.text);
    if (dev)
        AT_CHECK_INT(at_vk_validation_errors(at_vulkan_device(dev), NULL), 0);
    at_device_close(&dev);
    AT_CHECK(at_path_remove(NULL, scratch_path("small")));
}

static void without_limits(void)
{
    as_on_the_cpu(&(struct limit){0});
}

// The smallest that hold the largest tensor of each job.
static void small_allocations(void)
{
    as_on_the_cpu(&(struct limit){"ATTUNE_VK_MAX_ALLOC", "1100K", .sample_only = true, .chunks = 2});
    as_on_the_cpu(&(struct limit){"ATTUNE_VK_MAX_ALLOC", "4M", .chunks = 2});
}

static void no_subgroups(void)
{
    as_on_the_cpu(&(struct limit){"ATTUNE_VK_NO_SUBGROUP", "1"});
}

static void small_workgroups(void)
{
    as_on_the_cpu(&(struct limit){"ATTUNE_VK_MAX_WORKGROUP", "64"});
}

int main(void)
{
    setenv("ATTUNE_VK_VALIDATE", "1", 1);
    struct at_device *dev = open_small(&(struct limit){0});
    if (!dev) {
        printf("skipped: %s\n", capture.text);
        return AT_SKIP;
    }
    at_device_close(&dev);
    scratch_make();
    dev = tiny_device(capture_start(&capture), 2);
    if (AT_CHECK(draw(dev, &on_cpu) && train(dev, scratch_path("cpu"), &on_cpu))) {
        AT_RUN(without_limits);
        AT_RUN(small_allocations);
        AT_RUN(no_subgroups);
        AT_RUN(small_workgroups);
    }
    at_device_close(&dev);
    scratch_remove();
    return at_test_end();
}
