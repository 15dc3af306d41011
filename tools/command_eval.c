// SPDX-License-Identifier: Apache-2.0
// attune eval: whether one model's pictures are better than another's.
#include "core/base/alloc.h"
#include "core/io/file.h"
#include "pipelines/eval/eval.h"
#include "tools/device.h"
#include "tools/request.h"

struct job {
    struct at_cli *cli;
    struct at_device_choice device;
    struct at_source_options reading;
    struct at_texts models, prompts, rewards;
    const char *file, *csv;
    struct at_eval_params params;
    int64_t seeds;
    int rng; // enum at_rng_kind
    bool json, quiet;

    struct at_loaded loaded[2];
    struct at_eval_side sides[2];
    struct at_prompts list;
    struct at_truth *truth;      // of the names, when they are the prompts
    const char **texts;
    const struct at_reward *chosen[AT_EVAL_REWARDS];
    struct at_comparison result[AT_EVAL_REWARDS];
};

static void add_options(struct at_options *o, struct job *j)
{
    struct at_eval_params *p = &j->params;
    const struct at_option rows[] = {
        {"model", 'm', AT_OPTION_LIST, &j->models, "MODEL", "given twice: the second is judged against the first; "
         "a model folder or .safetensors checkpoint; MODEL+LORA[:SCALE] adds an adapter, more of them add up, the word embedded or + is the embedded model", .required = true},
        {"prompt", 'p', AT_OPTION_LIST, &j->prompts, "TEXT", "what to draw", .zero = "all held-out emoji names"},
        {"prompt-file", 'f', AT_OPTION_TEXT, &j->file, "FILE", "prompts, one a line, or .json", .zero = "none"},
        {"reward", 'r', AT_OPTION_LIST, &j->rewards, "NAME", "taste, fidelity, saturation", .zero = "all three"},
        {"seeds", 0, AT_OPTION_I64, &j->seeds, "N", "images a prompt", .min = 1, .max = 1000},
        {"seed", 0, AT_OPTION_SEED, &p->first_seed, "N", "of the first image"},
        {"steps", 's', AT_OPTION_INT, &p->steps, "N", "steps of the model's own sampler", .min = 1, .max = 1000},
        {"cfg", 0, AT_OPTION_REAL, &p->cfg, "X", "guidance scale", .min = 0.001, .max = 1000},
        {"cfg-rescale", 0, AT_OPTION_REAL, &p->cfg_rescale, "X", AT_REQUEST_RESCALE, .min = 0, .max = 1},
        {"rng", 0, AT_OPTION_CHOICE, &j->rng, "NAME", AT_REQUEST_RNG, .choices = at_rng_names},
        {"width", 0, AT_OPTION_INT, &p->width, "N", "pixels", .zero = "the model's own", .min = 0, .max = 32768},
        {"height", 0, AT_OPTION_INT, &p->height, "N", "pixels", .zero = "the model's own", .min = 0, .max = 32768},
        {"batch", 0, AT_OPTION_INT, &p->batch, "N", "images at once", .zero = "chosen", .min = 0, .max = 4096},
        {"tolerance", 0, AT_OPTION_REAL, &p->tolerance, "X", "scores no further apart are a tie", .min = 0, .max = 1e6},
        {"csv", 0, AT_OPTION_TEXT, &j->csv, "FILE", "every score", .zero = "none"},
        {"json", 0, AT_OPTION_FLAG, &j->json, NULL, "print the result as JSON", .here = true},
        {"quiet", 'q', AT_OPTION_FLAG, &j->quiet, NULL, "no progress", .here = true},
        {0},
    };
    at_options_add(o, rows);
    at_reading_options(o, &j->reading);
    at_device_options(o, &j->device);
}

static bool parse_models(struct job *j)
{
    struct at_log *log = &j->cli->log;
    if (j->models.count != 2)
        return at_fail(log, AT_ERROR_USAGE, "attune eval compares two models: -m FIRST -m SECOND; %zu given",
                       j->models.count);
    for (int i = 0; i < 2; i++) {
        struct at_loaded *l = &j->loaded[i];
        if (!at_loaded_parse(log, j->models.items[i], NULL, l))
            return false;
        l->reading = &j->reading;
        j->sides[i] = (struct at_eval_side){.label = at_loaded_label(l), .model = l->path, .reading = l->reading,
                                            .adapter_count = l->count};
        if (!j->sides[i].label)
            return at_fail_memory(log, sizeof(*l));
        for (int k = 0; k < l->count; k++)
            j->sides[i].adapters[k] = (struct at_eval_adapter){l->files[k].path, l->files[k].scale};
        if (!at_loaded_check(l, log))
            return false;
    }
    return true;
}

static bool choose_rewards(struct job *j)
{
    struct at_log *log = &j->cli->log;
    static const char *const usual[] = {"taste", "fidelity", "saturation"};
    size_t n = j->rewards.count ? j->rewards.count : 3;
    if (n > AT_EVAL_REWARDS)
        return at_fail(log, AT_ERROR_USAGE, "%zu rewards; at most %d", n, AT_EVAL_REWARDS);
    for (size_t i = 0; i < n; i++)
        if (!(j->chosen[i] = at_reward_find(log, j->rewards.count ? j->rewards.items[i] : usual[i])))
            return false;
    j->params.rewards = j->chosen;
    j->params.reward_count = n;
    return true;
}

// The names that the embedded model learned and no shipped pair has.
static bool add_held_out(struct job *j)
{
    if (!(j->truth = at_truth_open(&j->cli->log, NULL)))
        return false;
    const struct at_emoji_set *set = at_truth_names(j->truth);
    bool ok = true;
    for (size_t i = 0; ok && i < set->count; i++)
        ok = !set->items[i].held_out || at_prompts_add(&j->cli->log, &j->list, set->items[i].caption);
    return ok;
}

// Both models draw every prompt alike: what a line of the file asks for itself is not done, and said.
static void warn_of_settings(struct job *j)
{
    for (size_t i = 0; i < j->list.count; i++) {
        const struct at_prompt *p = &j->list.items[i];
        if (p->negative || p->width || p->height || p->steps || p->has_seed || p->has_cfg) {
            at_warn(&j->cli->log, "%s:%zu: settings of a prompt are left out; the options of attune eval hold for all",
                    j->file, p->line);
            return;
        }
    }
}

// The file is written last, so its place is looked at first.
static bool check_csv(const struct job *j)
{
    struct at_log *log = &j->cli->log;
    if (!j->csv)
        return true;
    if (at_dir_exists(j->csv))
        return at_fail(log, AT_ERROR_INPUT, "--csv %s: is a folder; give the name of a file", j->csv);
    char *dir = at_path_dir(j->csv);
    bool ok = dir && at_dir_make(log, dir) && at_dir_writable(log, dir);
    at_free(dir);
    return ok;
}

static bool list_prompts(struct job *j)
{
    struct at_log *log = &j->cli->log;
    bool ok = !j->file || at_prompts_read(log, j->file, &j->list);
    warn_of_settings(j);
    for (size_t i = 0; ok && i < j->prompts.count; i++)
        ok = at_request_text(log, "prompt", j->prompts.items[i]) &&
             at_prompts_add(log, &j->list, j->prompts.items[i]);
    ok = ok && (j->list.count || add_held_out(j));
    if (!ok)
        return false;
    if (!(j->texts = at_calloc(j->list.count, sizeof(*j->texts))))
        return at_fail_memory(log, j->list.count * sizeof(*j->texts));
    for (size_t i = 0; i < j->list.count; i++)
        j->texts[i] = j->list.items[i].text;
    j->params.prompts = j->texts;
    j->params.prompt_count = j->list.count;
    j->params.seeds = (size_t)j->seeds;
    return true;
}

static bool progress(void *priv, const char *label, double done)
{
    struct job *j = priv;
    at_progress_update(&j->cli->progress, 100 * done, 100, label);
    return !at_interrupted();
}

static void print_text(const struct job *j)
{
    printf("%s against %s: %zu prompts x %zu seeds\n", j->sides[1].label, j->sides[0].label, j->params.prompt_count,
           j->params.seeds);
    for (size_t r = 0; r < j->params.reward_count; r++) {
        const struct at_comparison *c = &j->result[r];
        printf("  %-10s %zu wins, %zu losses, %zu ties: %.1f%% (95%% interval %.1f%% to %.1f%%); mean %.4f, was %.4f\n",
               j->chosen[r]->name, c->wins, c->losses, c->ties, 100 * c->win_rate.value, 100 * c->win_rate.low,
               100 * c->win_rate.high, c->mean_b, c->mean_a);
    }
}

static bool print_json(struct job *j)
{
    struct at_json_doc *doc = at_json_create(&j->cli->log, false);
    if (!doc)
        return false;
    struct at_json root = at_json_root(doc);
    at_json_put_int(root, "prompts", (int64_t)j->params.prompt_count);
    at_json_put_int(root, "seeds", (int64_t)j->params.seeds);
    struct at_json rewards = at_json_put_object(root, "rewards");
    for (size_t r = 0; r < j->params.reward_count; r++) {
        const struct at_comparison *c = &j->result[r];
        struct at_json o = at_json_put_object(rewards, j->chosen[r]->name);
        at_json_put_int(o, "wins", (int64_t)c->wins);
        at_json_put_int(o, "losses", (int64_t)c->losses);
        at_json_put_int(o, "ties", (int64_t)c->ties);
        at_json_put_num(o, "win_rate", c->win_rate.value);
        at_json_put_num(o, "ci_low", c->win_rate.low);
        at_json_put_num(o, "ci_high", c->win_rate.high);
        at_json_put_num(o, "mean_first", c->mean_a);
        at_json_put_num(o, "mean_second", c->mean_b);
    }
    bool ok = at_cli_print_json(j->cli, doc);
    at_json_destroy(&doc);
    return ok;
}

static bool work(struct job *j)
{
    struct at_log *log = &j->cli->log;
    if (!parse_models(j) || !choose_rewards(j) || !list_prompts(j) || !check_csv(j))
        return false;
    struct at_device *dev = at_device_choose(&j->device, log);
    if (!dev)
        return false;
    j->params.rng = (enum at_rng_kind)j->rng;
    j->params.progress = progress;
    j->params.priv = j;
    at_progress_begin(&j->cli->progress, "drawing", NULL, j->quiet);
    bool ok = at_eval(dev, &j->sides[0], &j->sides[1], &j->params, j->csv, j->result, log);
    at_progress_end(&j->cli->progress);
    at_device_close(&dev);
    // With comparisons at hand only the file can have failed.
    bool counted = j->result[0].wins + j->result[0].losses + j->result[0].ties > 0;
    if (counted && !j->json)
        print_text(j);
    return (!counted || !j->json || print_json(j)) && ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune eval",
        .summary = "whether one model's pictures are better than another's",
        .synopsis = "-m FIRST -m SECOND [options]",
        .about = "Both models draw every prompt from equal noise; a reward says which picture is better. The interval "
                 "is Wilson's over prompts; a tie counts as half a win. Fidelity and taste know emoji names only.",
        .example = "  attune eval -m + -m +runs/warm --csv scores.csv\n"
                   "  attune eval -m sdxl+style.safetensors:0.6 -m sdxl+style.safetensors:0.6+runs/xl -f prompts.txt -r saturation\n",
    };
    struct job j = {.cli = cli, .seeds = 1, .params = {.steps = 25, .cfg = AT_EVAL_CFG}};
    struct at_options *o = at_options_create(&usage, &cli->log);
    if (o)
        add_options(o, &j);
    bool ok = at_cli_parse(cli, o, argc, argv) && work(&j);
    for (int i = 0; i < 2; i++) {
        at_free((char *)j.sides[i].label);
        at_loaded_finish(&j.loaded[i]);
    }
    at_free(j.texts);
    at_prompts_finish(&j.list);
    at_truth_close(&j.truth);
    at_options_destroy(&o);
    return ok;
}

const struct at_command at_command_eval = {"eval", "whether one model's pictures are better than another's", run};
