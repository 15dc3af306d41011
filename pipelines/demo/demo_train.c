// SPDX-License-Identifier: Apache-2.0
#include "pipelines/demo/demo_run.h"

#include "core/base/alloc.h"
#include "core/base/clock.h"
#include "core/io/file.h"
#include "core/io/json.h"
#include "pipelines/train/train_methods.h"

#include <math.h>

// All linear and convolution layers but the first, the last and the time embedding.
static const char *const targets[] = {"to_q",         "to_k",        "to_v",  "to_out.0", "proj_in",       "proj_out",
                                      "ff.net.0.proj", "ff.net.2",   "conv1", "conv2",    "conv_shortcut", "time_emb_proj",
                                      "downsamplers.0.conv", "upsamplers.0.conv", NULL};

static void progress(void *priv, int64_t step, int64_t steps, const char *line)
{
    struct at_demo_run *run = priv;
    if (run->p.progress && !run->p.progress(run->p.priv, run->stage, (double)step / (double)steps, line))
        run->stopped = true;
}

static bool interrupted(void *priv)
{
    const struct at_demo_run *run = priv;
    return run->stopped;
}

// What both trainings have in common: everything but the labels and the folder.
static struct at_train_dpo_params settings(struct at_demo_run *run, const char *folder, bool coin)
{
    const struct at_demo_params *p = &run->p;
    return (struct at_train_dpo_params){
        .train = {.run = folder,
                  .steps = p->steps,
                  .batch = p->batch,
                  .lr = p->lr,
                  .schedule = {.kind = AT_LR_CONSTANT_WITH_WARMUP, .warmup = p->steps < 20 ? p->steps / 2 : 10},
                  .optimizer = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 1},
                  .seed = p->seed,
                  .progress = progress,
                  .interrupted = interrupted,
                  .priv = run},
        .model = p->model,
        .pairs = run->pairs,
        .coin = coin,
        .lora = {.targets = targets, .rank = p->rank, .seed = p->seed},
        .objective = {.method = AT_OBJECTIVE_DPO, .beta = p->beta},
        .held_out = p->held_out,
    };
}

// What the training wrote about the pairs it kept apart, if it kept any.
static bool read_held_out(struct at_demo_run *run, const char *folder, struct at_demo_side *side)
{
    char *path = at_path_join(folder, "held_out.json");
    if (!path)
        return at_fail_memory(run->log, sizeof("held_out.json"));
    bool ok = true;
    side->held_out_accuracy = NAN;
    if (at_file_exists(path)) {
        struct at_json_doc *doc = at_json_load(run->log, path);
        ok = doc && at_json_num(at_json_root(doc), "implicit_accuracy", NAN, &side->held_out_accuracy) &&
             at_json_int(at_json_root(doc), "pairs", 0, 0, INT32_MAX, &side->held_out_pairs);
        at_json_destroy(&doc);
    }
    at_free(path);
    return ok;
}

bool at_demo_train(struct at_device *dev, struct at_demo_run *run, enum at_demo_model which)
{
    struct at_demo_side *side = &run->sides[which];
    bool coin = which == AT_DEMO_CONTROL;
    double start = at_clock();
    run->stage = coin ? "training the control, labels by coin" : "training on the pairs";
    char *folder = at_demo_path(run, coin ? "run-control" : "run-pairs");
    bool ok = folder && at_path_remove(run->log, folder);
    if (ok) {
        struct at_train_dpo_params p = settings(run, folder, coin);
        ok = at_train_dpo(dev, &p, run->log) && at_curves_read(run->log, folder, &side->curves) &&
             read_held_out(run, folder, side);
    }
    side->train_seconds = at_clock() - start;
    at_free(folder);
    return ok;
}
