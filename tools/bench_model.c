// SPDX-License-Identifier: Apache-2.0
// attune bench model: the steps of sampling and training.
#include "pipelines/bench/bench_model.h"
#include "tools/bench_command.h"
#include "tools/device.h"
#include "tools/models.h"

#include <inttypes.h>
#include <string.h>

struct job {
    struct at_cli *cli;
    struct at_device_choice device;
    struct at_bench_model_params params;
    struct at_source_options reading;
    struct at_texts tasks;
    int rows;
    bool json;

    struct at_ceilings ceilings;
    struct at_json_doc *doc;
    struct at_json list;
};

// The op with the next smaller share of time after `last` (-1: the largest); -1: none.
static int next_op(const struct at_bench_task *task, int last)
{
    int best = -1;
    for (int i = 0; i < AT_OP_COUNT; i++) {
        double s = task->ops[i].seconds;
        bool behind = last < 0 || s < task->ops[last].seconds || (s == task->ops[last].seconds && i > last);
        if (task->ops[i].runs && behind && (best < 0 || s > task->ops[best].seconds))
            best = i;
    }
    return best;
}

static void show_ops(const struct job *j, const struct at_bench_task *task, struct at_json out)
{
    struct at_json list = at_json_put_array(out, "ops");
    for (int i = next_op(task, -1), row = 0; i >= 0; i = next_op(task, i), row++) {
        const struct at_bench_share *s = &task->ops[i];
        double gflops = s->cost.flops / s->seconds * 1e-9, gbytes = s->cost.bytes / s->seconds * 1e-9;
        double roof = at_ceilings_seconds(&j->ceilings, &s->cost, NULL) / s->seconds;
        struct at_json op = at_json_put_object(list, NULL);
        at_json_put_str(op, "op", at_ops[i]->name);
        at_json_put_int(op, "runs", s->runs);
        at_json_put_num(op, "share", s->seconds / task->seconds);
        at_json_put_num(op, "gflop_s", gflops);
        at_json_put_num(op, "gb_s", gbytes);
        at_json_put_num(op, "percent", roof * 100);
        if (!j->json && row < j->rows)
            printf("    %5.1f%%  %-16s %6" PRId64 " runs %9.1f GFLOP/s %7.1f GB/s %5.0f%% of roof\n",
                   s->seconds / task->seconds * 100, at_ops[i]->name, s->runs, gflops, gbytes, roof * 100);
    }
}

static bool take(void *priv, const struct at_bench_task *task)
{
    struct job *j = priv;
    double gflops = task->flops / task->seconds * 1e-9, share = task->flops / task->seconds / j->ceilings.fma;
    struct at_json out = at_json_put_object(j->list, NULL);
    at_json_put_str(out, "task", task->name);
    at_json_put_str(out, "unit", task->unit);
    at_json_put_int(out, "items", task->items);
    at_json_put_num(out, "seconds", task->seconds);
    if (task->processor > 0)
        at_json_put_num(out, "processor_seconds", task->processor);
    at_json_put_num(out, "items_per_second", task->items / task->seconds);
    at_json_put_num(out, "gflop_s", gflops);
    at_json_put_num(out, "percent", share * 100);
    at_json_put_int(out, "arena_bytes", (int64_t)task->arena);
    if (!j->json)
        printf("%s, %d %s%s: %.4g s, %.4g %ss/s, %.1f GFLOP/s (%.0f%% of multiply-adds), %.1f MiB\n", task->name,
               task->items, task->unit, task->items == 1 ? "" : "s", task->seconds, task->items / task->seconds,
               task->unit, gflops, share * 100, (double)task->arena / (1 << 20));
    show_ops(j, task, out);
    fflush(stdout);
    return !at_interrupted();
}

static bool choose_tasks(struct job *j)
{
    static const char *const words[] = {"decode", "denoiser", "sampling", "dpo"}; // as enum at_bench_kind
    for (size_t i = 0; i < j->tasks.count; i++) {
        const char *word = j->tasks.items[i];
        size_t k = 0;
        while (k < 4 && strcmp(word, words[k]) != 0)
            k++;
        if (k == 4)
            return at_fail(&j->cli->log, AT_ERROR_USAGE, "--task %s: there are decode, denoiser, sampling and dpo", word);
        j->params.kinds |= 1u << k;
    }
    return true;
}

static bool work(struct job *j)
{
    struct at_log *log = &j->cli->log;
    struct at_device *dev = choose_tasks(j) ? at_device_choose(&j->device, log) : NULL;
    bool ok = dev && (j->doc = at_json_create(log, false)) && at_ceilings_measure(dev, &j->ceilings);
    if (ok) {
        j->params.model = at_model_word(j->params.model);
        j->params.reading = &j->reading;
        j->params.take = take;
        j->params.priv = j;
        struct at_json root = at_json_root(j->doc);
        at_json_put_str(root, "model", j->params.model ? j->params.model : "embedded");
        at_bench_head(dev, &j->ceilings, root, j->json);
        j->list = at_json_put_array(root, "tasks");
        ok = at_bench_model(dev, &j->params);
        at_json_put_int(root, "size", j->params.size);
        at_json_put_int(root, "batch", j->params.batch);
        ok = ok && (!j->json || at_cli_print_json(j->cli, j->doc));
    }
    at_device_close(&dev);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune bench model",
        .summary = "the steps of sampling and training with a model",
        .synopsis = "[-m MODEL] [options]",
        .about = "Times decoding, the denoiser, a sampling step with guidance and a step of Diffusion-DPO (attention "
                 "LoRA, cached latents), as the commands run them, on made-up latents. MiB is what a task takes of the "
                 "device's memory beside the weights. Below stand the ops that took most of the time (CPU only).",
        .example = "  attune bench model --batch 16\n"
                   "  attune bench model -m stable-diffusion-v1-5 --size 512 --device vulkan --json\n"
                   "  attune bench model -m folder-of-configs --untrained --task denoiser --task dpo --device cpu\n",
    };
    struct job j = {.cli = cli, .rows = 8, .params = {.seconds = 2}};
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_TEXT, &j.params.model, "MODEL",
         "model folder in the layout of diffusers, or a checkpoint in one .safetensors file",
         .zero = "the embedded model"},
        {"size", 0, AT_OPTION_INT, &j.params.size, "N", "pixels of a side", .zero = "the model's own", .min = 0,
         .max = 8192},
        {"batch", 'b', AT_OPTION_INT, &j.params.batch, "N", "images, and pairs",
         .zero = "latents of 64x64 in all, at most 16", .min = 0, .max = AT_BENCH_PAIRS},
        {"task", 0, AT_OPTION_LIST, &j.tasks, "NAME",
         "decode, denoiser, sampling (with the denoiser) or dpo; parts of the model that no task needs are not loaded",
         .zero = "all four"},
        {"untrained", 0, AT_OPTION_FLAG, &j.params.untrained, NULL,
         "random weights: the folder needs configs alone, and the speed is the same"},
        {"seconds", 0, AT_OPTION_REAL, &j.params.seconds, "X", "spent on a task, about", .min = 0.001, .max = 3600},
        {"runs", 0, AT_OPTION_INT, &j.params.runs, "N", "timed, of a task", .zero = "what --seconds allows, 3 at least",
         .min = 0, .max = AT_BENCH_RUNS},
        {"rows", 0, AT_OPTION_INT, &j.rows, "N", "ops shown for a task", .min = 0, .max = AT_OP_COUNT},
        {"json", 0, AT_OPTION_FLAG, &j.json, NULL, "print the result as JSON, with all ops", .here = true},
        {0},
    };
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o) {
        at_options_add(o, rows);
        at_reading_options(o, &j.reading);
        at_device_options(o, &j.device);
    }
    bool ok = at_cli_parse(cli, o, argc, argv) && work(&j);
    at_json_destroy(&j.doc);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_bench_model = {"model", "the steps of sampling and training with a model", run};
