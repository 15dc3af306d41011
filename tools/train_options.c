// SPDX-License-Identifier: Apache-2.0
#include "tools/train_options.h"

#include "pipelines/model/tiles.h"
#include "tools/plan.h"
#include "tools/tile_option.h"

#include <math.h>

void at_train_options(struct at_options *o, struct at_train_job *j)
{
    static const char *const schedules[] = {"constant", "constant_with_warmup", "linear", "cosine", NULL};
    struct at_train_params *t = j->train;
    struct at_optimizer_params *a = &t->optimizer;
    j->schedule = (int)t->schedule.kind;
    j->methods[0] = j->method;
    const struct at_option rows[] = {
        {"out", 'o', AT_OPTION_TEXT, &t->run, "FOLDER", "folder of the run", .required = true},
        {"steps", 's', AT_OPTION_I64, &t->steps, "N", "optimiser steps in all", .min = 1, .max = 1e9},
        {"accumulate", 0, AT_OPTION_INT, &t->accumulate, "N", "batches a step", .min = 1, .max = 4096},
        {"lr", 0, AT_OPTION_REAL, &t->lr, "X", "learning rate",
         .zero = j->lr_default, .min = 1e-12, .max = 10},
        {"lr-schedule", 0, AT_OPTION_CHOICE, &j->schedule, "NAME", "of the rate", .choices = schedules},
        {"warmup", 0, AT_OPTION_I64, &t->schedule.warmup, "N", "steps in which the rate rises from 0", .min = 0,
         .max = 1e9},
        {"lr-floor", 0, AT_OPTION_REAL, &t->schedule.floor, "X", "lowest share of the rate at the end of a decay",
         .min = 0, .max = 1},
        {"beta1", 0, AT_OPTION_REAL, &a->beta1, "X", "AdamW: decay of the mean", .min = 0, .max = 0.999999},
        {"beta2", 0, AT_OPTION_REAL, &a->beta2, "X", "AdamW: decay of the square", .min = 0, .max = 0.999999},
        {"eps", 0, AT_OPTION_REAL, &a->eps, "X", "AdamW: added to the root", .min = 1e-30, .max = 1},
        {"weight-decay", 0, AT_OPTION_REAL, &a->weight_decay, "X", "AdamW: decoupled", .min = 0, .max = 10},
        {"clip", 0, AT_OPTION_REAL, &a->clip, "X", "largest norm of the gradient", .zero = "no limit", .min = 0,
         .max = INFINITY},
        {"ema", 0, AT_OPTION_REAL, &a->ema, "X", "decay of the average of the weights that is saved", .zero = "none",
         .min = 0, .max = 0.9999999},
        {"seed", 0, AT_OPTION_SEED, &t->seed, "N", "of all that is drawn at random"},
        {"save-every", 0, AT_OPTION_I64, &t->save_every, "N", "steps between checkpoints", .zero = "only at the end",
         .min = 0, .max = 1e9},
        {"keep", 0, AT_OPTION_INT, &t->keep, "N", "checkpoints kept, the last ones", .zero = "all", .min = 0,
         .max = 1e6},
        {"resume", 0, AT_OPTION_FLAG, &t->resume, NULL,
         "go on from the newest checkpoint of --out, with the options it began with", .here = true},
        {"memory-limit", 0, AT_OPTION_SIZE, &t->memory_limit, "SIZE",
         "memory of the device to stay within, such as 6G: batches are cut and values computed again as needed",
         .zero = "what the device has"},
        {"method", 0, AT_OPTION_CHOICE, &j->method_index, "NAME", NULL, .choices = j->methods}, // in run.json
        {"quiet", 'q', AT_OPTION_FLAG, &j->quiet, NULL, "no progress", .here = true},
        {0},
    };
    at_options_add(o, rows);
    const struct at_option denoisers[] = {
        at_tile_option(&j->tile_word),
        {"sample-every", 0, AT_OPTION_I64, &t->samples.every, "N",
         "draw the prompts of --sample-prompts every N steps, before the first and after the last, into samples/ of --out",
         .zero = "no pictures", .min = 0, .max = 1e9},
        {"sample-prompts", 0, AT_OPTION_TEXT, &t->samples.prompts, "FILE",
         "prompts, one a line, or .json; after a prompt may stand its own --n negative and --d seed"},
        {"sample-steps", 0, AT_OPTION_INT, &t->samples.steps, "N", "of the sampler", .zero = "25, latent consistency models 4",
         .min = 0, .max = 1000},
        {"sample-cfg", 0, AT_OPTION_REAL, &t->samples.cfg, "X", "guidance scale", .zero = "as attune sample",
         .min = 0, .max = 1000},
        {0},
    };
    if (t->vae_tile != AT_TILE_NONE)
        at_options_add(o, denoisers);
    at_device_options(o, &j->device);
}

void at_picture_options(struct at_options *o, struct at_picture_source *data)
{
    const struct at_option rows[] = {
        {"data", 'd', AT_OPTION_TEXT, &data->imagefolder, "FOLDER", "pictures with metadata.jsonl",
         .zero = "emoji, drawn on the way"},
        {"size", 0, AT_OPTION_INT, &data->size, "N", "side of the pictures in pixels",
         .zero = "the model's own", .min = 8, .max = 4096},
        {"names", 0, AT_OPTION_INT, &data->names, "N", "how many emoji", .zero = "320", .min = 0, .max = 10000},
        {"data-seed", 0, AT_OPTION_SEED, &data->seed, "N", "of the emoji's places, sizes and colours"},
        {0},
    };
    at_options_add(o, rows);
}

static void progress(void *priv, int64_t step, int64_t steps, const char *line)
{
    struct at_train_job *j = priv;
    at_progress_update(&j->cli->progress, (double)step, (double)steps, line);
}

static bool interrupted(void *priv)
{
    (void)priv;
    return at_interrupted();
}

static bool start(struct at_train_job *j, struct at_device *dev, struct at_options *o)
{
    struct at_log *log = &j->cli->log;
    struct at_train_params *t = j->train;
    struct at_json_doc *config = at_options_json(o);
    if (!config)
        return false;
    j->quiet = j->quiet || j->cli->planning;
    t->config = at_json_root(config);
    t->progress = j->quiet ? NULL : progress;
    t->interrupted = interrupted;
    t->priv = j;
    t->forecast = j->cli->planning ? &j->cli->planning->forecast : NULL;
    if (!j->quiet)
        at_info(log, "%s on %s", o->usage->name, dev->name);
    at_progress_begin(&j->cli->progress, "training", "step", j->quiet);
    bool ok = j->start(dev, j->params, log);
    at_progress_end(&j->cli->progress);
    at_json_destroy(&config);
    return ok;
}

bool at_train_run(struct at_train_job *j, struct at_options *o, int argc, char **argv)
{
    struct at_device *dev = NULL;
    bool ok = at_cli_parse(j->cli, o, argc, argv);
    if (ok) {
        ok = (j->train->vae_tile == AT_TILE_NONE || at_tile_read(j->tile_word, &j->train->vae_tile, &j->cli->log)) &&
             (!j->complete || j->complete(j->params, &j->cli->log));
        j->train->schedule.kind = (enum at_lr_kind)j->schedule;
        ok = ok && (dev = at_cli_device(j->cli, &j->device)) && start(j, dev, o);
    }
    if (ok && j->cli->planning)
        ok = at_plan_print_training(j->cli, dev, j->train);
    else if (ok && !j->quiet)
        at_info(&j->cli->log, "done: %s, in %.1f MiB of device memory at most", j->train->run,
                (double)dev->peak / (1 << 20));
    at_device_close(&dev);
    at_options_destroy(&o);
    return ok;
}
