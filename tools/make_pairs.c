// SPDX-License-Identifier: Apache-2.0
// attune data make pairs: preference pairs of a model's own samples.
#include "pipelines/eval/make_pairs.h"
#include "tools/device.h"
#include "tools/make_command.h"
#include "tools/models.h"

struct job {
    struct at_cli *cli;
    struct at_make_pairs_params params;
    struct at_source_options reading;
    struct at_device_choice device;
    const char *rule;
    int64_t names, seeds;
    int pairing;
    bool quiet;
};

static bool progress(void *priv, const char *label, double done)
{
    struct job *j = priv;
    (void)label;
    at_progress_update(&j->cli->progress, 100 * done, 100, NULL);
    return !at_interrupted();
}

static bool work(struct job *j)
{
    struct at_log *log = &j->cli->log;
    struct at_make_pairs_result result;
    struct at_make_pairs_params *p = &j->params;
    p->names = (size_t)j->names;
    p->seeds = (size_t)j->seeds;
    p->pairing = (enum at_pairing)j->pairing;
    p->progress = progress;
    p->priv = j;
    p->reading = &j->reading;
    p->rule = at_reward_find(log, j->rule);
    struct at_device *dev = p->rule ? at_device_choose(&j->device, log) : NULL;
    if (!dev)
        return false;
    at_progress_begin(&j->cli->progress, "drawing", NULL, j->quiet);
    bool ok = at_make_pairs(dev, p, &result, log);
    at_progress_end(&j->cli->progress);
    if (ok && !j->quiet)
        at_info(log, "%zu pairs of %zu pictures of %zu names in %s; %zu ties left out", result.pairs, result.pictures,
                result.names, p->out, result.ties);
    at_device_close(&dev);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune data make pairs",
        .summary = "preference pairs of a model's own samples, labelled by a rule",
        .synopsis = "-o FOLDER [options]",
        .about = "For every emoji name that is not held out, several pictures are drawn from different noise, scored by "
                 "the rule and paired; the higher score wins. FOLDER gets pairs.jsonl, images/ and make.json, which "
                 "says how they were made.",
        .example = "  attune data make pairs -o pairs --seeds 8\n"
                   "  attune data check pairs\n",
    };
    static const char *const pairings[] = {"neighbours", "extremes", NULL};
    struct job j = {.cli = cli, .rule = "taste", .seeds = 4, .params = {.steps = 25, .cfg = AT_EVAL_CFG}};
    struct at_make_pairs_params *p = &j.params;
    const struct at_option rows[] = {
        {"out", 'o', AT_OPTION_TEXT, &p->out, "FOLDER", "new or empty", .required = true},
        {"model", 'm', AT_OPTION_TEXT, &p->model, "MODEL",
         "model folder in the layout of diffusers, or a checkpoint in one .safetensors file",
         .zero = "the embedded model"},
        {"rule", 0, AT_OPTION_TEXT, &j.rule, "NAME", "what makes a picture better: taste, fidelity, saturation"},
        {"pairing", 0, AT_OPTION_CHOICE, &j.pairing, "NAME", "which pictures of a name make a pair",
         .choices = pairings},
        {"names", 0, AT_OPTION_I64, &j.names, "N", "how many", .zero = "all that are not held out", .min = 0,
         .max = 10000},
        {"seeds", 0, AT_OPTION_I64, &j.seeds, "N", "pictures a name", .min = 2, .max = 1000},
        {"seed", 0, AT_OPTION_SEED, &p->first_seed, "N", "of the first picture's noise"},
        {"steps", 's', AT_OPTION_INT, &p->steps, "N", "steps of the sampler (DDIM)", .min = 1, .max = 1000},
        {"cfg", 0, AT_OPTION_REAL, &p->cfg, "X", "guidance scale", .min = 0.001, .max = 1000},
        {"batch", 0, AT_OPTION_INT, &p->batch, "N", "images at once", .zero = "chosen", .min = 0, .max = 4096},
        {"tolerance", 0, AT_OPTION_REAL, &p->tolerance, "X", "scores no further apart make no pair", .min = 0,
         .max = 1e6},
        {"quiet", 'q', AT_OPTION_FLAG, &j.quiet, NULL, "no progress", .here = true},
        {0},
    };
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o) {
        at_options_add(o, rows);
        at_reading_options(o, &j.reading);
        at_device_options(o, &j.device);
    }
    bool ok = at_cli_parse(cli, o, argc, argv) && work(&j);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_make_pairs = {"pairs", "preference pairs of a model's own samples", run};
