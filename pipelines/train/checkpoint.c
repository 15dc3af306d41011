// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/checkpoint.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/safetensors.h"
#include "core/io/sha256.h"
#include "pipelines/train/train_lora.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VECTORS (AT_VECTORS * AT_OPTIMIZER_SETS)

// A flat vector of the state.
struct vector {
    int set;
    enum at_vector kind;
    int64_t count;
    char name[96];
};

static int list_vectors(const struct at_train_method *method, struct at_optimizer *o, struct vector out[VECTORS])
{
    int n = 0;
    for (int s = 0; s < method->set_count; s++) {
        static const char *const kinds[AT_VECTORS] = {"weights", "moments", "average"};
        for (int k = 0; k < AT_VECTORS; k++) {
            out[n] = (struct vector){.set = s, .kind = (enum at_vector)k,
                                     .count = at_optimizer_count(o, s, (enum at_vector)k)};
            if (!out[n].count)
                continue;
            snprintf(out[n++].name, sizeof(out->name), "%s.%s", method->set_names[s], kinds[k]);
        }
    }
    return n;
}

static char *checkpoint_path(const char *run, int64_t step)
{
    return at_strf("%s/checkpoint-%06" PRId64, run, step);
}

// The step of a checkpoint; -1: a temporary or foreign name.
static int64_t step_of(const char *run, const char *name)
{
    char again[40];
    if (strncmp(name, "checkpoint-", 11) != 0)
        return -1;
    int64_t step = strtoll(name + 11, NULL, 10);
    char *path = at_path_join(run, name);
    snprintf(again, sizeof(again), "checkpoint-%06" PRId64, step);
    bool ours = step >= 0 && strcmp(again, name) == 0 && path && at_dir_exists(path);
    at_free(path);
    return ours ? step : -1;
}

// Steps of the complete checkpoints, ascending; at most `capacity`, the newest ones.
static int list_steps(const char *run, int64_t *steps, int capacity, struct at_log *log)
{
    char **names = NULL;
    size_t count = 0;
    int n = 0;
    if (!at_dir_exists(run) || !at_dir_list(log, run, &names, &count))
        return 0;
    for (size_t i = 0; i < count; i++) {
        int64_t step = step_of(run, names[i]);
        if (step < 0)
            continue;
        if (n == capacity)
            memmove(steps, steps + 1, (size_t)--n * sizeof(*steps));
        int at = n++;
        for (; at > 0 && steps[at - 1] > step; at--)
            steps[at] = steps[at - 1];
        steps[at] = step;
    }
    at_names_free(&names, count);
    return n;
}

int64_t at_checkpoint_newest(const char *run, struct at_log *log)
{
    int64_t steps[4096];
    int n = list_steps(run, steps, 4096, log);
    return n ? steps[n - 1] : -1;
}

bool at_checkpoint_clean(const char *run, struct at_log *log)
{
    char **names = NULL;
    size_t count = 0;
    if (!at_dir_exists(run))
        return true;
    bool ok = at_dir_list(log, run, &names, &count);
    for (size_t i = 0; ok && i < count; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(names[i], "checkpoint-", 11) != 0 || n < 15 || strcmp(names[i] + n - 4, ".tmp") != 0)
            continue;
        char *path = at_path_join(run, names[i]);
        ok = path ? at_path_remove(log, path) : at_fail_memory(log, n);
        at_free(path);
    }
    at_names_free(&names, count);
    return ok;
}

static bool save_vectors(const struct at_train_method *method, struct at_optimizer *o, const char *path,
                         struct at_log *log)
{
    struct vector v[VECTORS];
    int n = list_vectors(method, o, v);
    struct at_st_item items[VECTORS];
    uint64_t shapes[VECTORS];
    float *values[VECTORS] = {0};
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        shapes[i] = (uint64_t)v[i].count;
        values[i] = at_calloc((size_t)v[i].count, sizeof(float));
        ok = values[i] ? at_optimizer_read(o, v[i].set, v[i].kind, values[i])
                       : at_fail_memory(log, (size_t)v[i].count * sizeof(float));
        items[i] = (struct at_st_item){.name = v[i].name, .dtype = AT_ST_F32, .rank = 1, .shape = &shapes[i],
                                       .data = values[i]};
    }
    ok = ok && at_safetensors_write(log, path, &(struct at_st_content){.items = items, .count = (size_t)n});
    for (int i = 0; i < n; i++)
        at_free(values[i]);
    return ok;
}

// Names and shapes of a set's weights as one hash: a flat vector of the right length may hold others.
static void hash_shapes(const struct at_params *set, char text[65])
{
    struct at_sha256 hash;
    uint8_t digest[32];
    at_sha256_init(&hash);
    for (int i = 0; i < set->count; i++) {
        const struct at_param *p = &set->list[i];
        at_sha256_add(&hash, p->name, strlen(p->name) + 1);
        for (int k = 0; k < p->shape.rank; k++) {
            char dim[32];
            int n = snprintf(dim, sizeof(dim), "%" PRId64 ",", (int64_t)p->shape.dim[k]);
            at_sha256_add(&hash, dim, (size_t)n);
        }
    }
    at_sha256_finish(&hash, digest);
    at_sha256_hex(digest, text);
}

static bool save_state(const struct at_train_method *method, const struct at_train_params *p, int64_t step,
                       const char *path, struct at_log *log)
{
    struct at_json_doc *doc = at_json_create(log, false);
    if (!doc)
        return false;
    struct at_json root = at_json_root(doc);
    at_json_put_str(root, "method", method->name);
    at_json_put_int(root, "step", step);
    char seed[32];
    snprintf(seed, sizeof(seed), "%" PRIu64, p->seed);
    struct at_json settings = at_json_put_object(root, "settings");
    at_json_put_str(settings, "seed", seed);
    at_json_put_int(settings, "steps", p->steps);
    at_json_put_int(settings, "accumulate", p->accumulate > 0 ? p->accumulate : 1);
    at_json_put_num(settings, "lr", p->lr);
    struct at_json shapes = at_json_put_object(root, "shapes");
    for (int s = 0; s < method->set_count; s++) {
        char hash[65];
        hash_shapes(method->sets[s], hash);
        at_json_put_str(shapes, method->set_names[s], hash);
    }
    if (method->lora) {
        char hash[65];
        at_train_lora_hash(method->lora, hash);
        at_json_put_str(root, "adapter", hash);
    }
    bool ok = at_json_save(doc, path, true);
    at_json_destroy(&doc);
    return ok;
}

bool at_checkpoint_export(const struct at_train_method *method, struct at_optimizer *o, const char *dir,
                          struct at_log *log)
{
    float *values[AT_OPTIMIZER_SETS] = {0};
    bool ok = at_dir_make(log, dir);
    for (int s = 0; ok && s < method->set_count; s++) {
        enum at_vector from = at_optimizer_count(o, s, AT_VECTOR_AVERAGE) ? AT_VECTOR_AVERAGE : AT_VECTOR_WEIGHTS;
        size_t count = (size_t)at_optimizer_count(o, s, from);
        values[s] = at_calloc(count, sizeof(float));
        ok = values[s] ? at_optimizer_read(o, s, from, values[s]) : at_fail_memory(log, count * sizeof(float));
    }
    ok = ok && method->save(method->priv, dir, values);
    for (int s = 0; s < method->set_count; s++)
        at_free(values[s]);
    return ok;
}

static bool remove_old(const struct at_train_params *p, struct at_log *log)
{
    int64_t steps[4096];
    int n = p->keep > 0 ? list_steps(p->run, steps, 4096, log) : 0;
    bool ok = true;
    for (int i = 0; ok && i < n - p->keep; i++) {
        char *path = checkpoint_path(p->run, steps[i]);
        ok = path && at_path_remove(log, path);
        at_free(path);
    }
    return ok;
}

bool at_checkpoint_save(const struct at_train_method *method, const struct at_train_params *p, struct at_optimizer *o,
                        int64_t step, struct at_log *log)
{
    char *path = checkpoint_path(p->run, step), *dir = path ? at_dir_replace_begin(log, path) : NULL;
    char *state = dir ? at_path_join(dir, "state.json") : NULL;
    char *vectors = dir ? at_path_join(dir, "state.safetensors") : NULL;
    bool ok = state && vectors && at_checkpoint_export(method, o, dir, log) &&
              save_vectors(method, o, vectors, log) && save_state(method, p, step, state, log) &&
              at_dir_replace_commit(log, path);
    if (!ok && dir && !at_path_remove(NULL, dir)) // the disk may be full: leave nothing that is of no use
        at_warn(log, "%s: could not be removed", dir);
    ok = ok && remove_old(p, log);
    at_free(path);
    at_free(dir);
    at_free(state);
    at_free(vectors);
    return ok;
}

static bool check_shapes(const struct at_train_method *method, struct at_json root, const char *path,
                         struct at_log *log)
{
    struct at_json shapes;
    if (!at_json_need(root, "shapes", &shapes))
        return false;
    if (at_json_count(shapes) != (size_t)method->set_count)
        return at_fail(log, AT_ERROR_INPUT, "%s: the run trained %zu sets of weights, not %d; go on with what it trained "
                       "(--full, --rank, --text-encoder) when it began", path, at_json_count(shapes),
                       method->set_count);
    for (int s = 0; s < method->set_count; s++) {
        char mine[65];
        const char *saved;
        hash_shapes(method->sets[s], mine);
        if (!at_json_str(shapes, method->set_names[s], "", &saved))
            return false;
        if (strcmp(saved, mine) != 0)
            return at_fail(log, AT_ERROR_INPUT, "%s: the weights called \"%s\" had other names or shapes; go on with "
                           "the model, adapter rank and targets that the run began with", path, method->set_names[s]);
    }
    const char *saved = NULL;
    char mine[65] = "";
    if (method->lora)
        at_train_lora_hash(method->lora, mine);
    if (!at_json_str(root, "adapter", mine, &saved)) // older checkpoints do not have it
        return false;
    return strcmp(saved, mine) == 0 ||
           at_fail(log, AT_ERROR_INPUT, "%s: the adapter had other ranks or alphas; go on with the --rank, --alpha, "
                   "--target or --lora that the run began with", path);
}

// The run must be continued with the settings it began with, or its result would be another's.
static bool check_state(const struct at_train_method *method, const struct at_train_params *p, int64_t step,
                        struct at_json_doc *doc, const char *path, struct at_log *log)
{
    struct at_json settings = {0};
    int64_t saved = -1;
    const char *name, *seed;
    char mine[32];
    snprintf(mine, sizeof(mine), "%" PRIu64, p->seed);
    bool ok = at_json_str(at_json_root(doc), "method", "", &name) &&
              at_json_as_int(at_json_get(at_json_root(doc), "step"), 0, INT64_MAX, &saved) &&
              at_json_need(at_json_root(doc), "settings", &settings) && at_json_str(settings, "seed", "", &seed);
    if (ok && saved != step)
        ok = at_fail(log, AT_ERROR_INPUT, "%s: is of step %" PRId64 ", as its folder's name is not", path, saved);
    if (ok && strcmp(name, method->name) != 0)
        ok = at_fail(log, AT_ERROR_INPUT, "%s: the run was of method %s, not %s", path, name, method->name);
    if (ok && strcmp(seed, mine) != 0)
        ok = at_fail(log, AT_ERROR_INPUT, "%s: the run began with seed %s; give --seed %s to go on", path, seed, seed);
    ok = ok && check_shapes(method, at_json_root(doc), path, log);
    double lr = 0;
    int accumulate = 0;
    ok = ok && at_json_num(settings, "lr", p->lr, &lr) &&
         at_json_int(settings, "accumulate", 1, 1, 1 << 30, &accumulate);
    if (ok && lr != p->lr)
        at_warn(log, "the learning rate was %g and is now %g", lr, p->lr);
    if (ok && accumulate != (p->accumulate > 0 ? p->accumulate : 1))
        at_warn(log, "the batches a step were %d and are now %d", accumulate, p->accumulate);
    return ok;
}

static bool all_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static bool load_vectors(const struct at_train_method *method, struct at_optimizer *o, const char *path,
                         struct at_log *log)
{
    struct vector v[VECTORS];
    int n = list_vectors(method, o, v);
    struct at_safetensors *file = at_safetensors_open(log, path);
    bool ok = file;
    for (int i = 0; ok && i < n; i++) {
        uint64_t shape = (uint64_t)v[i].count;
        const struct at_st_tensor *t = at_safetensors_need(file, v[i].name, &shape, 1);
        float *values = t ? at_calloc((size_t)shape, sizeof(float)) : NULL;
        ok = values && at_safetensors_to_f32(file, t, values);
        if (ok && !all_finite(values, v[i].count))
            ok = at_fail(log, AT_ERROR_INPUT, "%s: tensor \"%s\" holds values that are not finite", path, v[i].name);
        ok = ok && at_optimizer_write(o, v[i].set, v[i].kind, values);
        at_free(values);
    }
    at_safetensors_destroy(&file);
    return ok;
}

// What is left to do about a checkpoint that does not read.
static bool fail_damaged(const char *run, const char *dir, int64_t step, struct at_log *log)
{
    int64_t steps[4096], before = -1;
    int n = list_steps(run, steps, 4096, NULL);
    for (int i = 0; i < n; i++)
        before = steps[i] < step ? steps[i] : before;
    if (before < 0)
        return at_fail(log, AT_ERROR_INPUT, "%s: is damaged, and there is no earlier checkpoint; begin a new run", dir);
    return at_fail(log, AT_ERROR_INPUT, "%s: is damaged; remove that folder to go on from step %" PRId64, dir, before);
}

bool at_checkpoint_load(const struct at_train_method *method, const struct at_train_params *p, struct at_optimizer *o,
                        int64_t step, struct at_log *log)
{
    char *dir = checkpoint_path(p->run, step);
    char *state = dir ? at_path_join(dir, "state.json") : NULL;
    char *vectors = dir ? at_path_join(dir, "state.safetensors") : NULL;
    struct at_json_doc *doc = state && vectors ? at_json_load(log, state) : NULL;
    bool fits = doc && check_state(method, p, step, doc, state, log);
    bool ok = fits && load_vectors(method, o, vectors, log);
    if (!ok && dir && (fits || !doc) && (!log || log->error == AT_ERROR_INPUT))
        ok = fail_damaged(p->run, dir, step, log);
    at_json_destroy(&doc);
    at_free(dir);
    at_free(state);
    at_free(vectors);
    return ok;
}
