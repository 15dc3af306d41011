// SPDX-License-Identifier: Apache-2.0
#include "tools/plan.h"

#include "core/base/alloc.h"
#include "core/graph/dry.h"
#include "pipelines/bench/ceilings.h"

#include <inttypes.h>
#include <math.h>

static const struct {
    const char *key, *label;
} uses[AT_USES] = {
    [AT_USE_WEIGHTS] = {"weights", "weights"},
    [AT_USE_GRADIENTS] = {"gradients", "gradients"},
    [AT_USE_OPTIMIZER] = {"optimizer", "optimiser"},
    [AT_USE_TENSORS] = {"activations", "activations"},
    [AT_USE_HOST] = {"host", "offloaded"},
};

// What is common to all forecasts.
struct forecast {
    const struct at_device *dry;
    double flops, flop_rate; // of the whole job; a second, at most
    size_t disk;             // bytes written; 0: not said
    size_t process;          // bytes of the host
    const char *knobs;
};

struct at_device *at_cli_device(struct at_cli *cli, const struct at_device_choice *choice)
{
    struct at_device *dev = at_device_choose(choice, &cli->log);
    if (!dev || !cli->planning)
        return dev;
    cli->planning->real = dev;
    struct at_device *dry = at_dry_open(dev, &cli->log);
    if (dry)
        at_dry_count_host(dry);
    return dry;
}

static double mib(size_t bytes)
{
    return (double)bytes / (1 << 20);
}

static void print_seconds(double s)
{
    if (s < 120)
        printf("%.3g s", s);
    else if (s < 7200)
        printf("%.0f min", s / 60);
    else
        printf("%.1f h", s / 3600);
}

static void print_text(const struct forecast *f, const struct at_forecast *training, int64_t steps)
{
    printf("device        %s\n", f->dry->name);
    printf("memory        %.1f MiB at most\n", mib(f->dry->peak));
    for (int i = 0; i < AT_USE_HOST; i++)
        if (f->dry->peak_used[i])
            printf("  %-11s %.1f MiB\n", uses[i].label, mib(f->dry->peak_used[i]));
    if (f->dry->memory)
        printf("  of          %.0f MiB that the device has\n", mib(f->dry->memory));
    printf("host memory   %.1f MiB at most", mib(f->process));
    if (f->dry->peak_used[AT_USE_HOST])
        printf(", %.1f of them offloaded weights", mib(f->dry->peak_used[AT_USE_HOST]));
    printf("%s\n", f->dry->own_memory ? "" : ", the above included");
    printf("arithmetic    %.3g GFLOP", f->flops * 1e-9);
    if (training)
        printf(": %.3g to begin with, %" PRId64 " steps of %.3g", training->setup_flops * 1e-9, steps,
               training->step_flops * 1e-9);
    printf("\ntime          at least ");
    print_seconds(f->flops / f->flop_rate);
    printf(", at the %.3g GFLOP/s measured here at best\n", f->flop_rate * 1e-9);
    if (f->disk)
        printf("disk          %.1f MiB a checkpoint, and the result\n", mib(f->disk));
    printf("to lower it   %s, --weights f16%s\n", f->knobs, at_device_memory_knobs(f->dry));
}

static bool print_json(struct at_cli *cli, const struct forecast *f, const struct at_forecast *training)
{
    struct at_json_doc *doc = at_json_create(&cli->log, false);
    if (!doc)
        return false;
    struct at_json root = at_json_root(doc), memory = at_json_put_object(root, "memory");
    at_json_put_str(root, "device", f->dry->name);
    at_json_put_int(memory, "peak", (int64_t)f->dry->peak);
    for (int i = 0; i < AT_USES; i++)
        at_json_put_int(memory, uses[i].key, (int64_t)f->dry->peak_used[i]);
    at_json_put_int(memory, "process", (int64_t)f->process);
    at_json_put_int(memory, "device", (int64_t)f->dry->memory);
    at_json_put_num(root, "flops", f->flops);
    if (training) {
        at_json_put_num(root, "setup_flops", training->setup_flops);
        at_json_put_num(root, "step_flops", training->step_flops);
        at_json_put_int(root, "checkpoint", (int64_t)f->disk);
    }
    at_json_put_num(root, "flops_per_second", f->flop_rate);
    at_json_put_num(root, "least_seconds", f->flops / f->flop_rate);
    bool ok = at_cli_print_json(cli, doc);
    at_json_destroy(&doc);
    return ok;
}

static bool print(struct at_cli *cli, struct forecast *f, const struct at_forecast *training, int64_t steps)
{
    struct at_ceilings c;
    if (!at_ceilings_measure(cli->planning->real, &c))
        return false;
    f->flop_rate = fmax(c.product, c.fma);
    if (cli->planning->json)
        return print_json(cli, f, training);
    print_text(f, training, steps);
    return true;
}

bool at_plan_print_training(struct at_cli *cli, const struct at_device *dry, const struct at_train_params *params)
{
    const struct at_forecast *t = &cli->planning->forecast;
    struct forecast f = {
        .dry = dry,
        .process = at_alloc_peak(),
        .flops = t->setup_flops + (double)params->steps * t->step_flops,
        .disk = t->checkpoint,
        .knobs = "--memory-limit (cuts batches, computes again), --vae-tile, --batch with --accumulate, --size, --rank, --no-full",
    };
    return print(cli, &f, t, params->steps);
}

bool at_plan_print_sampling(struct at_cli *cli, const struct at_device *dry)
{
    struct forecast f = {.dry = dry, .flops = at_dry_flops(dry), .process = at_alloc_peak(),
                         .knobs = "--memory-limit (fewer pictures at once, weights in turn), --vae-tile, --batch, --width and --height, --cfg 1"};
    return print(cli, &f, NULL, 0);
}
