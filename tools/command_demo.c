// SPDX-License-Identifier: Apache-2.0
// attune demo: from preference pairs to a measured result, with a control.
#include "pipelines/demo/demo.h"
#include "tools/cli.h"
#include "tools/device.h"

#include <string.h>

struct job {
    struct at_cli *cli;
    struct at_demo_params params;
    struct at_device_choice device;
    const char *stage; // shown at the moment
    int64_t prompts, seeds, grid_rows;
    bool quiet;
};

static bool progress(void *priv, const char *stage, double done, const char *details)
{
    struct job *j = priv;
    if (!j->stage || strcmp(j->stage, stage) != 0) {
        at_progress_end(&j->cli->progress);
        at_progress_begin(&j->cli->progress, stage, NULL, j->quiet);
        j->stage = stage;
    }
    at_progress_update(&j->cli->progress, 100 * done, 100, details);
    return !at_interrupted();
}

static bool work(struct job *j)
{
    struct at_log *log = &j->cli->log;
    struct at_demo_params *p = &j->params;
    struct at_demo_result r;
    p->prompts = (size_t)j->prompts;
    p->seeds = (size_t)j->seeds;
    p->grid_rows = (size_t)j->grid_rows;
    p->progress = progress;
    p->priv = j;
    struct at_device *dev = at_device_choose(&j->device, log);
    if (!dev)
        return false;
    bool ok = at_demo(dev, p, &r, log);
    at_progress_end(&j->cli->progress);
    if (ok) {
        printf("on %zu held-out names x %zu seeds, against the base model:\n", r.prompts, r.seeds);
        printf("  tuned    wins %.1f%% (95%% interval %.1f%% to %.1f%%)\n", 100 * r.win_rate, 100 * r.ci_low,
               100 * r.ci_high);
        printf("  control  wins %.1f%% (95%% interval %.1f%% to %.1f%%), labels by coin\n", 100 * r.control_win_rate,
               100 * r.control_ci_low, 100 * r.control_ci_high);
        printf("%s\nreport: %s/report.html\n",
               r.clear ? "The tuned model is better, and the labels are why."
                       : "This is not a clear result: the intervals do not part.", p->out);
    }
    at_device_close(&dev);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune demo",
        .summary = "tunes the embedded model on shipped pairs, and measures what came of it",
        .synopsis = "[-o FOLDER] [options]",
        .about = "Trains twice at equal settings: on the pairs, and on the same pairs with labels drawn by coin. Draws "
                 "held-out names with the base and both results, from equal noise, and compares. FOLDER gets "
                 "report.html, report.json, grid-*.png, scores.csv and both runs.",
        .example = "  attune demo -o demo\n",
    };
    struct job j = {.cli = cli, .seeds = 1, .grid_rows = 24, .params = {
        .out = "demo", .seed = 1, .first_seed = AT_DEMO_FIRST_SEED, .sample_steps = 20, .cfg = 4, .steps = 100,
        .batch = 16, .lr = 7e-4, .beta = 2000, .rank = 8, .held_out = 0.1}};
    struct at_demo_params *p = &j.params;
    const struct at_option rows[] = {
        {"out", 'o', AT_OPTION_TEXT, &p->out, "FOLDER", "for the results; those of an earlier demo are replaced"},
        {"model", 'm', AT_OPTION_TEXT, &p->model, "DIR", "model folder", .zero = "the embedded model"},
        {"data", 'd', AT_OPTION_TEXT, &p->pairs, "FOLDER", "pairs made by attune data make pairs",
         .zero = "those beside the embedded model"},
        {"seed", 0, AT_OPTION_SEED, &p->seed, "N", "of both trainings, and of the coin"},
        {"prompts", 0, AT_OPTION_I64, &j.prompts, "N", "held-out names to draw", .zero = "all", .min = 0, .max = 10000},
        {"seeds", 0, AT_OPTION_I64, &j.seeds, "N", "pictures a name", .min = 1, .max = 1000},
        {"first-seed", 0, AT_OPTION_SEED, &p->first_seed, "N", "of the drawings' noise"},
        {"sample-steps", 0, AT_OPTION_INT, &p->sample_steps, "N", "steps of the sampler (DDIM)", .min = 1, .max = 1000},
        {"cfg", 0, AT_OPTION_REAL, &p->cfg, "X", "guidance scale", .min = 0.001, .max = 1000},
        {"steps", 's', AT_OPTION_I64, &p->steps, "N", "of each training", .min = 1, .max = 1e6},
        {"batch", 'b', AT_OPTION_INT, &p->batch, "N", "pairs a step", .min = 1, .max = 1024},
        {"lr", 0, AT_OPTION_REAL, &p->lr, "X", "learning rate", .min = 1e-9, .max = 1},
        {"beta", 0, AT_OPTION_REAL, &p->beta, "X", "pull to the base model", .min = 1e-6, .max = 1e9},
        {"rank", 0, AT_OPTION_INT, &p->rank, "N", "of the adapter", .min = 1, .max = 1024},
        {"held-out", 0, AT_OPTION_REAL, &p->held_out, "X", "share of the pairs' names kept apart for the accuracy",
         .min = 0.001, .max = 0.9},
        {"grid-rows", 0, AT_OPTION_I64, &j.grid_rows, "N", "names in the grids", .min = 1, .max = 10000},
        {"quiet", 'q', AT_OPTION_FLAG, &j.quiet, NULL, "no progress", .here = true},
        {0},
    };
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o) {
        at_options_add(o, rows);
        at_device_options(o, &j.device);
    }
    bool ok = at_cli_parse(cli, o, argc, argv) && work(&j);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_demo = {"demo", "tunes the embedded model and measures the result", run};
