// SPDX-License-Identifier: Apache-2.0
// The bench of a model: what is measured, not how fast it is.
#include "pipelines/bench/bench_model.h"
#include "tests/pipeline/tiny.h"

#define TASKS 4

static struct capture capture;

static struct {
    struct at_bench_task tasks[TASKS];
    int count, stop; // stop: refuse the task of this number, from 1
} taken;

static bool take(void *priv, const struct at_bench_task *task)
{
    (void)priv;
    if (taken.count < TASKS)
        taken.tasks[taken.count] = *task;
    return ++taken.count != taken.stop;
}

static bool bench(const char *model, int threads, int batch)
{
    struct at_device *dev = tiny_device(capture_start(&capture), threads);
    struct at_bench_model_params p = {.model = model, .batch = batch, .seconds = 1e-3, .take = take};
    taken.count = 0;
    bool ok = at_bench_model(dev, &p);
    if (ok)
        AT_CHECK(p.size == TINY_SIDE && p.batch == batch);
    AT_CHECK(dev->allocated == 0);
    at_device_close(&dev);
    return ok;
}

static void tasks_have_time_work_and_memory(void)
{
    static const char *const names[TASKS] = {"decoding", "denoiser", "sampling step with guidance",
                                             "DPO step, LoRA of rank 8"};
    AT_CHECK(bench(tiny_path("model"), 2, 2));
    AT_CHECK_INT(taken.count, TASKS);
    for (int i = 0; i < TASKS; i++) {
        const struct at_bench_task *t = &taken.tasks[i];
        AT_CHECK_STR(t->name, names[i]);
        AT_CHECK(t->items == 2 && t->seconds > 0 && t->flops > 0 && t->arena > 0);
        double sum = 0, flops = 0;
        for (int k = 0; k < AT_OP_COUNT; k++) {
            sum += t->ops[k].seconds;
            flops += t->ops[k].cost.flops;
        }
        if (i == 2) // its ops are the denoiser's
            continue;
        AT_CHECK_NEAR(sum / t->seconds, 1, 1e-9);
        AT_CHECK_NEAR(flops / t->flops, 1, i == 3 ? 0.02 : 1e-9); // the optimiser has a plan of its own
    }
    AT_CHECK_NEAR(taken.tasks[2].flops / taken.tasks[1].flops, 2, 1e-9);
}

// Only the denoiser's weights are there, and they need no file.
static void a_chosen_task_loads_what_it_needs(void)
{
    struct at_device *dev = tiny_device(capture_start(&capture), 1);
    struct at_bench_model_params p = {
        .model = tiny_path("model"), .batch = 1, .runs = 1, .take = take, .untrained = true, .kinds = AT_BENCH_DPO};
    taken.count = 0;
    AT_CHECK(at_bench_model(dev, &p));
    AT_CHECK_INT(taken.count, 1);
    AT_CHECK_STR(taken.tasks[0].name, "DPO step, LoRA of rank 8");
    AT_CHECK(taken.tasks[0].processor > 0);
    size_t denoiser = dev->peak_used[AT_USE_WEIGHTS];
    p.kinds = AT_BENCH_DECODE | AT_BENCH_DENOISER;
    AT_CHECK(at_bench_model(dev, &p));
    AT_CHECK_INT(taken.count, 3);
    AT_CHECK(dev->peak_used[AT_USE_WEIGHTS] > denoiser);
    at_device_close(&dev);
}

static void interruptions_and_mistakes_are_told(void)
{
    taken.stop = 2;
    AT_CHECK(!bench(tiny_path("model"), 1, 1));
    AT_CHECK_INT(capture.log.error, AT_ERROR_INTERRUPTED);
    AT_CHECK_INT(taken.count, 2);
    taken.stop = 0;
    AT_CHECK(!bench(tiny_path("nomodel"), 1, 1) && capture.log.error == AT_ERROR_INPUT);
    AT_CHECK(!bench(tiny_path("model"), 1, 1000) && capture.log.error == AT_ERROR_USAGE);
}

int main(void)
{
    AT_RUN(tasks_have_time_work_and_memory);
    AT_RUN(a_chosen_task_loads_what_it_needs);
    AT_RUN(interruptions_and_mistakes_are_told);
    return at_test_end();
}
