// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/train.h"

#include "core/base/alloc.h"
#include "core/base/clock.h"
#include "core/io/file.h"
#include "pipelines/model/tiles.h"
#include "pipelines/train/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loop {
    const struct at_train_method *method;
    const struct at_train_params *p;
    struct at_log *log;
    struct at_optimizer *optimizer;
    FILE *metrics;
    double seconds; // of the last step
};

// Drops lines of steps after `step`, which a stopped run wrote beyond its last checkpoint.
static bool trim_metrics(const char *path, int64_t step, struct at_log *log)
{
    uint8_t *data = NULL;
    size_t size = 0, keep = 0;
    if (!at_file_exists(path))
        return true;
    if (!at_file_read(log, path, (size_t)1 << 32, &data, &size))
        return false;
    static const char begin[] = "{\"step\":";
    for (size_t at = 0, skip = sizeof(begin) - 1; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        const char *text = (const char *)data + at;
        char *rest = NULL;
        if (!end || strncmp(text, begin, skip) != 0 || strtoll(text + skip, &rest, 10) > step || rest == text + skip)
            break;
        keep = at = (size_t)(end - data) + 1;
    }
    bool ok = at_file_replace(log, path, data, keep);
    at_free(data);
    return ok;
}

static bool open_metrics(struct loop *l, int64_t start)
{
    char *path = at_path_join(l->p->run, "metrics.jsonl");
    bool ok = path && (start == 0 ? at_path_remove(l->log, path) : trim_metrics(path, start, l->log));
    if (ok && !(l->metrics = fopen(path, "a")))
        ok = at_fail(l->log, AT_ERROR_FAILED, "%s: cannot be written", path);
    at_free(path);
    return ok;
}

static bool write_metrics(struct loop *l, int64_t step, const struct at_metrics *m)
{
    fprintf(l->metrics, "{\"step\":%" PRId64, step);
    for (int i = 0; i < m->count; i++) {
        double v = m->list[i].sum / m->list[i].count;
        if (isfinite(v))
            fprintf(l->metrics, ",\"%s\":%.9g", m->list[i].name, v);
        else
            fprintf(l->metrics, ",\"%s\":null", m->list[i].name);
    }
    fprintf(l->metrics, "}\n");
    if (fflush(l->metrics) != 0)
        return at_fail(l->log, AT_ERROR_FAILED, "%s/metrics.jsonl: cannot be written (is the disk full?)", l->p->run);
    return true;
}

static void report(const struct loop *l, int64_t step, const struct at_metrics *m)
{
    if (!l->p->progress)
        return;
    char line[512];
    size_t used = 0;
    for (int i = 0; i < m->count && used < sizeof(line); i++)
        used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%s %.4g", i ? "  " : "", m->list[i].name,
                                 m->list[i].sum / m->list[i].count);
    l->p->progress(l->p->priv, step, l->p->steps, line);
}

// One optimiser step; `step` counts from 0.
static bool run_step(struct loop *l, int64_t step)
{
    const struct at_train_params *p = l->p;
    int batches = p->accumulate > 0 ? p->accumulate : 1;
    struct at_metrics m = {0};
    double start = at_clock(), norm = 0;
    for (int micro = 0; micro < batches; micro++)
        if (!l->method->batch(l->method->priv, step, micro, &m))
            return false;
    if (!isfinite(at_metrics_get(&m, "loss")))
        return at_fail(l->log, AT_ERROR_FAILED, "step %" PRId64 ": the loss is not finite; lower the learning rate or "
                       "look at the data; --guard names the layer", step + 1);
    struct at_lr schedule = p->schedule;
    schedule.total = schedule.total > 0 ? schedule.total : p->steps;
    double lr = p->lr * at_lr_factor(&schedule, step);
    if (!at_optimizer_step(l->optimizer, step + 1, lr, 1.0 / batches, &norm))
        return false;
    l->seconds = at_clock() - start;
    at_metrics_add(&m, "grad_norm", norm);
    at_metrics_add(&m, "lr", lr);
    at_metrics_add(&m, "seconds", l->seconds);
    at_metrics_add(&m, l->method->rate, p->batch * batches / l->seconds);
    report(l, step + 1, &m);
    return write_metrics(l, step + 1, &m);
}

static bool draw_samples(struct loop *l, int64_t step)
{
    struct at_train_samples *s = l->method->samples;
    return !at_train_samples_due(s, step) || at_train_samples_draw(s, step);
}

static bool run_all(struct loop *l, int64_t start)
{
    const struct at_train_params *p = l->p;
    if (start == 0 && !draw_samples(l, 0))
        return false;
    for (int64_t step = start; step < p->steps; step++) {
        if (!run_step(l, step) || !draw_samples(l, step + 1))
            return false;
        bool stop = p->interrupted && p->interrupted(p->priv), last = step + 1 == p->steps;
        bool due = p->save_every > 0 && (step + 1) % p->save_every == 0;
        if ((stop || last || due) && !at_checkpoint_save(l->method, p, l->optimizer, step + 1, l->log))
            return false;
        if (stop && !last)
            return at_fail(l->log, AT_ERROR_INTERRUPTED, "stopped after step %" PRId64 "%s", step + 1,
                           p->config.item ? "; the same command with --resume goes on from there" : "");
    }
    return true;
}

bool at_train_check(const struct at_train_params *p, struct at_log *log)
{
    struct at_lr schedule = p->schedule;
    schedule.total = schedule.total > 0 ? schedule.total : p->steps;
    if (!at_lr_validate(&schedule, log))
        return false;
    if (at_file_exists(p->run))
        return at_fail(log, AT_ERROR_INPUT, "%s: is a file; name a folder for the run", p->run);
    int64_t newest = at_checkpoint_newest(p->run, log);
    if (p->resume && newest < 0)
        return at_fail(log, AT_ERROR_INPUT, "%s: there is no checkpoint to resume from; without --resume a new run "
                       "begins", p->run);
    if (p->resume && newest > p->steps)
        return at_fail(log, AT_ERROR_USAGE, "%s: step %" PRId64 " is done already, and --steps is %" PRId64, p->run,
                       newest, p->steps);
    return newest < 0 || p->resume ||
           at_fail(log, AT_ERROR_USAGE, "%s: holds a run already (checkpoint at step %" PRId64 "): choose another "
                   "folder, or --resume", p->run, newest);
}

bool at_train_goes_on(const struct at_train_params *p, struct at_log *log)
{
    return !p->interrupted || !p->interrupted(p->priv) ||
           at_fail(log, AT_ERROR_INTERRUPTED, "stopped before the first step; nothing is lost");
}

// Of the trained state: weights, moments and averages.
static size_t checkpoint_bytes(const struct loop *l)
{
    size_t bytes = 0;
    for (int s = 0; s < l->method->set_count; s++)
        bytes += (size_t)l->method->sets[s]->total * sizeof(float) * (l->p->optimizer.ema > 0 ? 4 : 3);
    return bytes;
}

static void warn_of_disk(const struct loop *l)
{
    uint64_t need = checkpoint_bytes(l), have = at_dir_free(l->p->run);
    if (have < need)
        at_warn(l->log, "%s: a checkpoint takes %.1f MiB, but only %.1f MiB are free there", l->p->run,
                (double)need / (1 << 20), (double)have / (1 << 20));
}

static bool open_optimizer(struct loop *l)
{
    struct at_optimizer_params p = l->p->optimizer;
    memcpy(p.rates, l->method->rates, sizeof(p.rates));
    l->optimizer = at_optimizer_create(l->method->sets, l->method->set_count, &p, l->log);
    return l->optimizer;
}

static bool prepare(struct loop *l, int64_t *start)
{
    const struct at_train_params *p = l->p;
    if (!at_train_check(p, l->log) || !at_dir_make(l->log, p->run) || !at_checkpoint_clean(p->run, l->log))
        return false;
    warn_of_disk(l);
    *start = p->resume ? at_checkpoint_newest(p->run, l->log) : 0;
    return open_optimizer(l) && (!p->resume || at_checkpoint_load(l->method, p, l->optimizer, *start, l->log)) &&
           open_metrics(l, *start);
}

// A value as text, freed with at_free; NULL if there is none.
static char *value_text(struct at_json value, struct at_log *log)
{
    struct at_json_doc *doc = at_json_present(value) ? at_json_create(log, true) : NULL;
    if (!doc)
        return NULL;
    at_json_put_copy(at_json_root(doc), NULL, value);
    char *text = at_json_text(doc, false);
    size_t n = text ? strlen(text) : 0;
    if (n >= 2) { // the brackets of the array around it
        memmove(text, text + 1, n - 2);
        text[n - 2] = '\0';
    }
    at_json_destroy(&doc);
    return text;
}

// Says which settings of a resumed run are not those it began with: its result then is that of no one setting.
static void compare_config(const struct at_train_params *p, const char *path, struct at_log *log)
{
    static const char *const harmless[] = {"out", "steps", "save-every", "keep", "device", "threads", "resume",
                                           "sample-every", "sample-prompts", "sample-steps", "sample-cfg", NULL};
    struct at_json_doc *old = at_file_exists(path) ? at_json_load(NULL, path) : NULL;
    struct at_json none = {0}, was = old ? at_json_root(old) : none;
    if (!old)
        at_warn(log, "%s: does not read, so the settings are not compared with those the run began with", path);
    for (struct at_json v = old ? at_json_first(p->config) : none; v.item; v = at_json_next(v)) {
        const char *key = at_json_key(v);
        bool skip = false;
        for (int i = 0; harmless[i]; i++)
            skip = skip || strcmp(harmless[i], key) == 0;
        char *before = skip ? NULL : value_text(at_json_get(was, key), log), *now = skip ? NULL : value_text(v, log);
        if (strcmp(before ? before : "", now ? now : "") != 0)
            at_warn(log, "%s: \"%s\" was %s, and is %s now", path, key, before ? before : "absent",
                    now ? now : "absent");
        at_free(before);
        at_free(now);
    }
    at_json_destroy(&old);
}

static bool save_config(const struct at_train_params *p, struct at_log *log)
{
    if (!p->config.item)
        return true;
    char *path = at_path_join(p->run, "run.json");
    if (path && p->resume)
        compare_config(p, path, log);
    struct at_json_doc *doc = at_json_create(log, false);
    bool ok = path && doc;
    for (struct at_json v = at_json_first(p->config); ok && v.item; v = at_json_next(v))
        at_json_put_copy(at_json_root(doc), at_json_key(v), v);
    ok = ok && at_json_save(doc, path, true);
    at_json_destroy(&doc);
    at_free(path);
    return ok;
}

// What a run takes, found on a dry device: one step, and what saving does.
static bool try_step(struct loop *l, struct at_forecast *f)
{
    const struct at_train_method *m = l->method;
    const struct at_device *dev = m->sets[0]->dev;
    float *values[AT_OPTIMIZER_SETS];
    struct at_metrics metrics = {0};
    if (!open_optimizer(l))
        return false;
    *f = (struct at_forecast){.setup_flops = at_dry_flops(dev)};
    int batches = l->p->accumulate > 0 ? l->p->accumulate : 1;
    bool ok = true;
    for (int micro = 0; ok && micro < batches; micro++)
        ok = m->batch(m->priv, 0, micro, &metrics);
    ok = ok && at_optimizer_step(l->optimizer, 1, 0, 1, NULL);
    f->step_flops = at_dry_flops(dev) - f->setup_flops;
    ok = ok && (!m->samples || at_train_samples_draw(m->samples, 0));
    for (int s = 0; s < m->set_count; s++)
        values[s] = NULL;
    f->checkpoint = checkpoint_bytes(l);
    ok = ok && m->save(m->priv, NULL, values);
    at_optimizer_destroy(&l->optimizer);
    return ok;
}

bool at_train(const struct at_train_method *method, const struct at_train_params *params, struct at_log *log)
{
    struct loop l = {.method = method, .p = params, .log = log};
    int64_t start;
    if (params->forecast)
        return try_step(&l, params->forecast);
    bool ok = prepare(&l, &start) && save_config(params, log) && run_all(&l, start) &&
              at_checkpoint_export(method, l.optimizer, params->run, log);
    if (l.metrics)
        fclose(l.metrics);
    at_optimizer_destroy(&l.optimizer);
    return ok;
}

struct fitting {
    struct at_train_params *params; // within `all`
    void *all;
    bool (*run)(struct at_device *dev, const void *all, struct at_log *log);
};

static void cut_batch(struct at_train_params *p)
{
    int parts = p->fit.parts > 0 ? p->fit.parts : 1;
    p->accumulate = (p->accumulate > 0 ? p->accumulate : 1) * parts;
    p->batch /= parts;
}

static bool attempt(void *priv, struct at_device *dry, const struct at_fit *fit, struct at_log *log)
{
    struct fitting *f = priv;
    struct at_train_params before = *f->params;
    struct at_forecast forecast;
    f->params->forecast = &forecast;
    f->params->fit = *fit;
    cut_batch(f->params);
    bool ok = f->run(dry, f->all, log);
    *f->params = before;
    return ok;
}

bool at_train_fit(struct at_device *dev, struct at_train_params *p,
                  bool (*run)(struct at_device *dev, const void *all, struct at_log *log), void *all,
                  struct at_log *log)
{
    if (!p->forecast && !at_train_check(p, log))
        return false;
    struct fitting f = {p, all, run};
    int tilings = p->vae_tile == AT_TILE_AUTO ? AT_TILE_LEVELS : p->vae_tile == AT_TILE_NONE ? 0 : 1;
    struct at_fit_params params = {.dev = dev, .limit = p->memory_limit, .batch = p->batch, .attempt = attempt, .priv = &f,
                                   .pairs = p->pairs, .tilings = tilings};
    if (!at_fit_choose(&params, &p->fit, log))
        return false;
    cut_batch(p);
    return true;
}
