// SPDX-License-Identifier: Apache-2.0
// attune bench ops: each operator at sizes of real models.
#include "pipelines/bench/bench_ops.h"
#include "tools/bench_command.h"
#include "tools/device.h"

struct job {
    struct at_cli *cli;
    struct at_device_choice device;
    double seconds;
    bool json;

    struct at_ceilings ceilings;
    struct at_json_doc *doc;
    struct at_json lines;
};

static bool take(void *priv, const struct at_bench_line *line)
{
    struct job *j = priv;
    bool memory;
    double share = at_ceilings_seconds(&j->ceilings, &line->cost, &memory) / line->seconds;
    double gflops = line->cost.flops / line->seconds * 1e-9, gbytes = line->cost.bytes / line->seconds * 1e-9;
    struct at_json out = at_json_put_object(j->lines, NULL);
    at_json_put_str(out, "op", line->op->name);
    at_json_put_str(out, "shapes", line->text);
    at_json_put_num(out, "seconds", line->seconds);
    at_json_put_num(out, "gflop_s", gflops);
    at_json_put_num(out, "gb_s", gbytes);
    at_json_put_str(out, "roof", memory ? "memory" : "compute");
    at_json_put_num(out, "percent", share * 100);
    if (line->sgemm > 0)
        at_json_put_num(out, "sgemm_percent", line->sgemm / line->seconds * 100);
    if (j->json)
        return !at_interrupted();
    char product[16] = "";
    if (line->sgemm > 0)
        snprintf(product, sizeof(product), "%.0f%%", line->sgemm / line->seconds * 100);
    printf("%10.1f %9.1f %8.1f %6.0f%% %-8s%6s  %s %s\n", line->seconds * 1e6, gflops, gbytes, share * 100,
           memory ? "memory" : "compute", product, line->op->name, line->text);
    fflush(stdout);
    return !at_interrupted();
}

static bool work(struct job *j, const struct at_texts *ops)
{
    struct at_log *log = &j->cli->log;
    if (!at_bench_ops_check(ops->items, ops->count, log))
        return false;
    struct at_device *dev = at_device_choose(&j->device, log);
    bool ok = dev && (j->doc = at_json_create(log, false)) && at_ceilings_measure(dev, &j->ceilings);
    if (ok) {
        struct at_bench_ops_params p = {.ops = ops->count ? ops->items : NULL, .count = ops->count,
                                        .seconds = j->seconds, .sgemm = j->ceilings.product > 0, .take = take,
                                        .priv = j};
        at_bench_head(dev, &j->ceilings, at_json_root(j->doc), j->json);
        if (!j->json)
            printf("%10s %9s %8s %7s %-8s%6s\n", "us", "GFLOP/s", "GB/s", "of roof", "", "sgemm");
        j->lines = at_json_put_array(at_json_root(j->doc), "ops");
        ok = at_bench_ops(dev, &p) && (!j->json || at_cli_print_json(j->cli, j->doc));
    }
    at_device_close(&dev);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune bench ops",
        .summary = "each operator at sizes of real models",
        .synopsis = "[OP...] [options]",
        .about = "A line has the best time of many runs, and the share of the roof that binds: of multiply-adds in "
                 "registers, or of a large copy, with every tensor touched once. \"sgemm\" is the speed beside a bare "
                 "cblas_sgemm call of the product's shape (of a convolution: as if its patches were gathered already), "
                 "measured in turn with it. Attributes are those of the operator's file in core/ops.",
        .example = "  attune bench ops conv2d matmul --device cpu\n"
                   "  attune bench ops --device vulkan:0 --json\n",
        .arguments = 64,
    };
    struct job j = {.cli = cli, .seconds = 0.2};
    const struct at_option rows[] = {
        {"seconds", 0, AT_OPTION_REAL, &j.seconds, "X", "time spent on a line, at least", .min = 0.001, .max = 60},
        {"json", 0, AT_OPTION_FLAG, &j.json, NULL, "print the result as JSON", .here = true},
        {0},
    };
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o) {
        at_options_add(o, rows);
        at_device_options(o, &j.device);
    }
    bool ok = at_cli_parse(cli, o, argc, argv) && work(&j, &o->arguments);
    at_json_destroy(&j.doc);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_bench_ops = {"ops", "each operator at sizes of real models", run};
