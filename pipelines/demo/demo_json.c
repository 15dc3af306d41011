// SPDX-License-Identifier: Apache-2.0
#include "pipelines/demo/demo_run.h"

#include "core/base/alloc.h"
#include "core/io/json.h"

#include <string.h>

static const char *const reward_keys[AT_DEMO_REWARDS] = {"rule", "fidelity", "saturation"};

static void put_interval(struct at_json into, const char *key, struct at_interval v)
{
    struct at_json object = at_json_put_object(into, key);
    at_json_put_num(object, "value", v.value);
    at_json_put_num(object, "ci_low", v.low);
    at_json_put_num(object, "ci_high", v.high);
}

static void put_comparison(struct at_json into, const char *key, const struct at_comparison *c)
{
    struct at_json object = at_json_put_object(into, key);
    at_json_put_int(object, "wins", (int64_t)c->wins);
    at_json_put_int(object, "losses", (int64_t)c->losses);
    at_json_put_int(object, "ties", (int64_t)c->ties);
    put_interval(object, "win_rate", c->win_rate);
    put_interval(object, "win_rate_bootstrap", c->win_bootstrap);
    put_interval(object, "mean_difference", c->difference);
    at_json_put_num(object, "mean_before", c->mean_a);
    at_json_put_num(object, "mean_after", c->mean_b);
}

// The numbers that people look for first, flat.
static void put_headline(const struct at_demo_run *run, struct at_json root)
{
    const struct at_demo_result *r = run->result;
    at_json_put_int(root, "prompts", (int64_t)r->prompts);
    at_json_put_int(root, "seeds", (int64_t)r->seeds);
    at_json_put_int(root, "images", (int64_t)(r->prompts * r->seeds));
    at_json_put_int(root, "pairs", (int64_t)r->pairs);
    at_json_put_str(root, "rule", run->rewards[AT_DEMO_RULE]->name);
    at_json_put_int(root, "wins", (int64_t)r->wins);
    at_json_put_int(root, "losses", (int64_t)r->losses);
    at_json_put_int(root, "ties", (int64_t)r->ties);
    at_json_put_num(root, "win_rate", r->win_rate);
    at_json_put_num(root, "ci_low", r->ci_low);
    at_json_put_num(root, "ci_high", r->ci_high);
    at_json_put_num(root, "control_win_rate", r->control_win_rate);
    at_json_put_num(root, "control_ci_low", r->control_ci_low);
    at_json_put_num(root, "control_ci_high", r->control_ci_high);
    at_json_put_num(root, "fidelity_base", r->fidelity_base);
    at_json_put_num(root, "fidelity_tuned", r->fidelity_tuned);
    at_json_put_num(root, "fidelity_control", r->fidelity_control);
    at_json_put_num(root, "held_out_accuracy", run->sides[AT_DEMO_TUNED].held_out_accuracy);
    at_json_put_num(root, "control_held_out_accuracy", run->sides[AT_DEMO_CONTROL].held_out_accuracy);
    at_json_put_bool(root, "clear", r->clear);
}

static double mean_of(const struct at_demo_run *run, int model, int reward)
{
    return at_mean(at_drawings_scores(&run->sides[model].drawings, (size_t)reward), run->p.prompts * run->p.seeds);
}

static void put_models(const struct at_demo_run *run, struct at_json root)
{
    struct at_json models = at_json_put_object(root, "models");
    for (int m = 0; m < AT_DEMO_MODELS; m++) {
        const struct at_demo_side *side = &run->sides[m];
        struct at_json model = at_json_put_object(models, at_demo_names[m]);
        for (int r = 0; r < AT_DEMO_REWARDS; r++)
            at_json_put_num(model, reward_keys[r], mean_of(run, m, r));
        at_json_put_num(model, "retrieval_top1", side->top1);
        at_json_put_num(model, "retrieval_top5", side->top5);
        at_json_put_num(model, "draw_seconds", side->draw_seconds);
        if (m == AT_DEMO_BASE)
            continue;
        at_json_put_num(model, "train_seconds", side->train_seconds);
        at_json_put_num(model, "held_out_accuracy", side->held_out_accuracy);
        at_json_put_int(model, "held_out_pairs", side->held_out_pairs);
        struct at_json versus = at_json_put_object(model, "versus_base");
        for (int r = 0; r < AT_DEMO_REWARDS; r++)
            put_comparison(versus, reward_keys[r], &side->versus_base[r]);
    }
    put_comparison(root, "tuned_versus_control", &run->versus_control);
}

static void put_settings(const struct at_demo_run *run, struct at_json root)
{
    const struct at_demo_params *p = &run->p;
    struct at_json s = at_json_put_object(root, "settings");
    at_json_put_str(s, "rule_about", run->rewards[AT_DEMO_RULE]->about);
    at_json_put_str(s, "model", p->model ? p->model : "embedded");
    at_json_put_int(s, "training_seed", (int64_t)p->seed);
    at_json_put_int(s, "steps", p->steps);
    at_json_put_int(s, "batch", p->batch);
    at_json_put_num(s, "lr", p->lr);
    at_json_put_num(s, "beta", p->beta);
    at_json_put_int(s, "rank", p->rank);
    at_json_put_num(s, "held_out", p->held_out);
    at_json_put_int(s, "first_seed", (int64_t)p->first_seed);
    at_json_put_int(s, "sample_steps", p->sample_steps);
    at_json_put_num(s, "cfg", p->cfg);
    at_json_put_num(s, "confidence", 0.95);
    at_json_put_num(root, "seconds", run->seconds);
}

bool at_demo_json(const struct at_demo_run *run)
{
    struct at_json_doc *doc = at_json_create(run->log, false);
    char *path = at_demo_path(run, "report.json");
    bool ok = doc && path;
    if (ok) {
        put_headline(run, at_json_root(doc));
        put_models(run, at_json_root(doc));
        put_settings(run, at_json_root(doc));
        struct at_json list = at_json_put_array(at_json_root(doc), "prompt_list");
        for (size_t i = 0; i < run->p.prompts; i++)
            at_json_put_str(list, NULL, run->prompts[i]);
        ok = at_json_save(doc, path, true);
    }
    at_free(path);
    at_json_destroy(&doc);
    return ok;
}
