// SPDX-License-Identifier: Apache-2.0
#include "pipelines/demo/demo_run.h"

#include "core/base/alloc.h"
#include "core/base/clock.h"
#include "core/io/file.h"
#include "core/io/json.h"
#include "datasets/pairs.h"

#include <math.h>
#include <string.h>

#define LORA_FILE "pytorch_lora_weights.safetensors"

const char *const at_demo_names[AT_DEMO_MODELS] = {"base", "tuned", "control"};
static const char *const draw_stages[AT_DEMO_MODELS] = {"drawing with the base model", "drawing with the tuned model",
                                                        "drawing with the control"};

char *at_demo_path(const struct at_demo_run *run, const char *name)
{
    char *path = at_path_join(run->p.out, name);
    if (!path)
        (void)at_fail_memory(run->log, strlen(run->p.out));
    return path;
}

static void fill_defaults(struct at_demo_params *p)
{
    p->seeds = p->seeds ? p->seeds : 1;
    p->sample_steps = p->sample_steps > 0 ? p->sample_steps : 20;
    p->first_seed = p->first_seed ? p->first_seed : AT_DEMO_FIRST_SEED;
    p->cfg = p->cfg > 0 ? p->cfg : AT_EVAL_CFG;
    p->steps = p->steps > 0 ? p->steps : 100;
    p->batch = p->batch > 0 ? p->batch : 16;
    p->lr = p->lr > 0 ? p->lr : 7e-4;
    p->beta = p->beta > 0 ? p->beta : 2000;
    p->rank = p->rank > 0 ? p->rank : 8;
    p->held_out = p->held_out > 0 ? p->held_out : 0.1;
    p->grid_rows = p->grid_rows ? p->grid_rows : 24;
}

// Where the pairs lie, how many there are, and the rule they were labelled by.
static bool find_pairs(struct at_demo_run *run)
{
    if (run->p.pairs) {
        run->pairs = at_strdup(run->p.pairs);
    } else {
        char *model = at_model_embedded_path(run->log), *dir = model ? at_path_dir(model) : NULL;
        run->pairs = dir ? at_path_join(dir, "pairs") : NULL;
        at_free(model);
        at_free(dir);
    }
    struct at_pairs pairs;
    if (!run->pairs || !at_pairs_read(run->log, run->pairs, &(struct at_pairs_params){.skip_images = true}, &pairs))
        return false;
    run->pair_count = pairs.count;
    at_pairs_finish(&pairs);
    char *path = at_path_join(run->pairs, "make.json");
    struct at_json_doc *doc = path && at_file_exists(path) ? at_json_load(run->log, path) : NULL;
    const char *rule = "taste";
    bool ok = !doc || at_json_str(at_json_root(doc), "rule", rule, &rule);
    if (ok)
        run->rewards[AT_DEMO_RULE] = at_reward_find(run->log, rule);
    at_json_destroy(&doc);
    at_free(path);
    run->rewards[AT_DEMO_FIDELITY] = &at_reward_fidelity;
    run->rewards[AT_DEMO_SATURATION] = &at_reward_saturation;
    return ok && run->rewards[AT_DEMO_RULE];
}

// Held-out names, spread evenly when not all are wanted.
static bool choose_prompts(struct at_demo_run *run)
{
    const struct at_emoji_set *set = at_truth_names(run->truth);
    size_t all = 0, kept = 0, seen = 0;
    for (size_t i = 0; i < set->count; i++)
        all += set->items[i].held_out;
    size_t want = run->p.prompts && run->p.prompts < all ? run->p.prompts : all;
    run->prompts = at_calloc(want, sizeof(*run->prompts));
    if (!run->prompts)
        return at_fail_memory(run->log, want * sizeof(*run->prompts));
    for (size_t i = 0; i < set->count; i++)
        if (set->items[i].held_out) {
            if (seen * want / all == kept && kept < want)
                run->prompts[kept++] = set->items[i].caption;
            seen++;
        }
    run->p.prompts = kept;
    run->p.grid_rows = run->p.grid_rows < kept ? run->p.grid_rows : kept;
    return kept > 0 || at_fail(run->log, AT_ERROR_FAILED, "no name is held out");
}

static bool draw_progress(void *priv, const char *label, double done)
{
    const struct at_demo_run *run = priv;
    (void)label;
    return !run->p.progress || run->p.progress(run->p.priv, run->stage, done, NULL);
}

static bool prepare(struct at_demo_run *run)
{
    if (!at_dir_make(run->log, run->p.out) || !find_pairs(run))
        return false;
    run->truth = at_truth_open(run->log, NULL);
    if (!run->truth || !choose_prompts(run))
        return false;
    run->eval = (struct at_eval_params){.prompts = run->prompts,
                                        .prompt_count = run->p.prompts,
                                        .seeds = run->p.seeds,
                                        .first_seed = run->p.first_seed,
                                        .rewards = run->rewards,
                                        .reward_count = AT_DEMO_REWARDS,
                                        .steps = run->p.sample_steps,
                                        .cfg = run->p.cfg,
                                        .keep = true,
                                        .progress = draw_progress,
                                        .priv = run};
    return true;
}

static bool draw(struct at_model *m, struct at_demo_run *run, enum at_demo_model which)
{
    struct at_demo_side *side = &run->sides[which];
    struct at_lora *lora = NULL;
    double start = at_clock();
    run->stage = draw_stages[which];
    if (which != AT_DEMO_BASE) {
        char *path = at_demo_path(run, which == AT_DEMO_TUNED ? "run-pairs/" LORA_FILE : "run-control/" LORA_FILE);
        lora = path ? at_lora_open(m, path, 1) : NULL;
        at_free(path);
        if (!lora)
            return false;
    }
    bool ok = at_eval_draw(m, lora ? &lora : NULL, lora ? 1 : 0, at_demo_names[which], &run->eval, run->truth,
                           &side->drawings);
    at_lora_destroy(&lora);
    ok = ok && at_drawings_retrieval(&side->drawings, run->prompts, run->truth, 1, &side->top1, run->log) &&
         at_drawings_retrieval(&side->drawings, run->prompts, run->truth, 5, &side->top5, run->log);
    side->draw_seconds = at_clock() - start;
    return ok;
}

static bool draw_all(struct at_device *dev, struct at_demo_run *run)
{
    struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = run->p.model}, run->log);
    bool ok = m != NULL;
    for (int which = 0; ok && which < AT_DEMO_MODELS; which++)
        ok = draw(m, run, (enum at_demo_model)which);
    at_model_destroy(&m);
    return ok;
}

static bool compare(struct at_demo_run *run)
{
    struct at_demo_side *s = run->sides;
    const struct at_drawings *base = &s[AT_DEMO_BASE].drawings, *control = &s[AT_DEMO_CONTROL].drawings;
    bool ok = true;
    for (size_t r = 0; ok && r < AT_DEMO_REWARDS; r++)
        ok = at_eval_compare(&run->eval, r, base, &s[AT_DEMO_TUNED].drawings, &s[AT_DEMO_TUNED].versus_base[r],
                             run->log) &&
             at_eval_compare(&run->eval, r, base, control, &s[AT_DEMO_CONTROL].versus_base[r], run->log);
    return ok && at_eval_compare(&run->eval, AT_DEMO_RULE, control, &s[AT_DEMO_TUNED].drawings, &run->versus_control,
                                 run->log);
}

static void conclude(struct at_demo_run *run)
{
    const struct at_comparison *t = run->sides[AT_DEMO_TUNED].versus_base;
    const struct at_comparison *c = run->sides[AT_DEMO_CONTROL].versus_base;
    *run->result = (struct at_demo_result){.prompts = t->prompts,
                                           .seeds = t->seeds,
                                           .pairs = run->pair_count,
                                           .wins = t->wins,
                                           .losses = t->losses,
                                           .ties = t->ties,
                                           .win_rate = t->win_rate.value,
                                           .ci_low = t->win_rate.low,
                                           .ci_high = t->win_rate.high,
                                           .control_win_rate = c->win_rate.value,
                                           .control_ci_low = c->win_rate.low,
                                           .control_ci_high = c->win_rate.high,
                                           .fidelity_base = t[AT_DEMO_FIDELITY].mean_a,
                                           .fidelity_tuned = t[AT_DEMO_FIDELITY].mean_b,
                                           .fidelity_control = c[AT_DEMO_FIDELITY].mean_b};
    run->result->clear = t->win_rate.low > 0.5 && t->win_rate.low > c->win_rate.high;
}

static bool write_scores(struct at_demo_run *run)
{
    const struct at_drawings *drawings[AT_DEMO_MODELS];
    for (int i = 0; i < AT_DEMO_MODELS; i++)
        drawings[i] = &run->sides[i].drawings;
    char *path = at_demo_path(run, "scores.csv");
    bool ok = path && at_eval_csv(path, &run->eval, at_demo_names, drawings, AT_DEMO_MODELS, run->log);
    at_free(path);
    return ok;
}

static void finish(struct at_demo_run *run)
{
    for (int i = 0; i < AT_DEMO_MODELS; i++) {
        at_drawings_finish(&run->sides[i].drawings);
        at_curves_finish(&run->sides[i].curves);
    }
    at_free(run->pairs);
    at_free(run->prompts);
    at_truth_close(&run->truth);
}

bool at_demo(struct at_device *dev, const struct at_demo_params *params, struct at_demo_result *result,
             struct at_log *log)
{
    struct at_demo_run run = {.p = *params, .log = log, .result = result};
    double start = at_clock();
    run.sides[AT_DEMO_BASE].held_out_accuracy = NAN;
    fill_defaults(&run.p);
    bool ok = prepare(&run) && at_demo_train(dev, &run, AT_DEMO_TUNED) && at_demo_train(dev, &run, AT_DEMO_CONTROL) &&
              draw_all(dev, &run) && compare(&run);
    if (ok) {
        conclude(&run);
        run.seconds = at_clock() - start;
        ok = write_scores(&run) && at_demo_grids(&run) && at_demo_page(&run) && at_demo_json(&run);
    }
    finish(&run);
    return ok;
}
