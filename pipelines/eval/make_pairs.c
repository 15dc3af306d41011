// SPDX-License-Identifier: Apache-2.0
#include "pipelines/eval/make_pairs.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/json.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_SEEDS 4

// One folder in the making.
struct job {
    const struct at_make_pairs_params *p;
    const struct at_eval_params *eval;
    const struct at_drawings *d;
    struct at_make_pairs_result *result;
    const char *dir; // temporary name
    struct at_file_writer *rows;
    struct at_log *log;
};

static double score(const struct job *j, size_t prompt, size_t seed)
{
    return at_drawings_scores(j->d, 0)[prompt * j->d->seeds + seed];
}

static void picture_name(char *text, size_t size, size_t prompt, size_t seed)
{
    snprintf(text, size, "images/%04zu-%zu.png", prompt, seed);
}

static bool write_picture(const struct job *j, size_t prompt, size_t seed)
{
    char name[64];
    struct at_image image;
    picture_name(name, sizeof(name), prompt, seed);
    char *path = at_path_join(j->dir, name);
    bool ok = path ? at_drawings_image(j->d, prompt, seed, &image, j->log) : at_fail_memory(j->log, sizeof(name));
    if (ok) {
        ok = at_png_write(j->log, path, &image, NULL, 0);
        at_image_finish(&image);
    }
    at_free(path);
    j->result->pictures += ok;
    return ok;
}

// The scores of a picture by every reward, under `key`.
static void put_scores(const struct job *j, struct at_json row, const char *key, size_t prompt, size_t seed)
{
    struct at_json scores = at_json_put_object(row, key);
    for (size_t r = 0; r < j->eval->reward_count; r++)
        at_json_put_float(scores, j->eval->rewards[r]->name,
                          (float)at_drawings_scores(j->d, r)[prompt * j->d->seeds + seed]);
}

static bool write_row(const struct job *j, size_t prompt, size_t win, size_t lose)
{
    struct at_json_doc *doc = at_json_create(j->log, false);
    if (!doc)
        return false;
    char name[64];
    struct at_json row = at_json_root(doc);
    at_json_put_str(row, "prompt", j->eval->prompts[prompt]);
    picture_name(name, sizeof(name), prompt, win);
    at_json_put_str(row, "win", name);
    picture_name(name, sizeof(name), prompt, lose);
    at_json_put_str(row, "lose", name);
    at_json_put_int(row, "label", 1);
    at_json_put_int(row, "win_seed", (int64_t)at_eval_seed(j->eval, prompt, win));
    at_json_put_int(row, "lose_seed", (int64_t)at_eval_seed(j->eval, prompt, lose));
    put_scores(j, row, "win_scores", prompt, win);
    put_scores(j, row, "lose_scores", prompt, lose);
    char *text = at_json_text(doc, false);
    bool ok = text && at_file_writer_put(j->rows, text, strlen(text)) && at_file_writer_put(j->rows, "\n", 1);
    at_free(text);
    at_json_destroy(&doc);
    return ok;
}

static bool add_pair(const struct job *j, size_t prompt, size_t a, size_t b)
{
    double win = at_win_score(score(j, prompt, a), score(j, prompt, b), j->p->tolerance);
    if (win == 0.5) {
        j->result->ties++;
        return true;
    }
    j->result->pairs++;
    return write_picture(j, prompt, a) && write_picture(j, prompt, b) &&
           write_row(j, prompt, win == 1 ? a : b, win == 1 ? b : a);
}

static bool pair_prompt(const struct job *j, size_t prompt)
{
    if (j->p->pairing == AT_PAIRING_EXTREMES) {
        size_t best = 0, worst = 0;
        for (size_t s = 1; s < j->d->seeds; s++) {
            best = score(j, prompt, s) > score(j, prompt, best) ? s : best;
            worst = score(j, prompt, s) < score(j, prompt, worst) ? s : worst;
        }
        return add_pair(j, prompt, best, worst);
    }
    bool ok = true;
    for (size_t s = 0; ok && s + 1 < j->d->seeds; s += 2)
        ok = add_pair(j, prompt, s, s + 1);
    return ok;
}

static bool write_about(const struct job *j)
{
    struct at_json_doc *doc = at_json_create(j->log, false);
    if (!doc)
        return false;
    struct at_json root = at_json_root(doc);
    const char *pairing = j->p->pairing == AT_PAIRING_EXTREMES ? "extremes" : "neighbours";
    at_json_put_str(root, "model", j->p->model ? j->p->model : "embedded");
    at_json_put_str(root, "rule", j->eval->rewards[0]->name);
    at_json_put_str(root, "rule_about", j->eval->rewards[0]->about);
    at_json_put_str(root, "pairing", pairing);
    at_json_put_int(root, "names", (int64_t)j->result->names);
    at_json_put_int(root, "seeds", (int64_t)j->d->seeds);
    at_json_put_int(root, "first_seed", (int64_t)j->eval->first_seed);
    at_json_put_int(root, "steps", j->eval->steps);
    at_json_put_num(root, "cfg", j->eval->cfg == 0 ? AT_EVAL_CFG : j->eval->cfg);
    at_json_put_num(root, "tolerance", j->p->tolerance);
    at_json_put_int(root, "pairs", (int64_t)j->result->pairs);
    at_json_put_int(root, "ties", (int64_t)j->result->ties);
    char *path = at_path_join(j->dir, "make.json");
    bool ok = path ? at_json_save(doc, path, true) : at_fail_memory(j->log, strlen(j->dir));
    at_free(path);
    at_json_destroy(&doc);
    return ok;
}

static bool write_all(struct job *j)
{
    char *images = at_path_join(j->dir, "images"), *rows = at_path_join(j->dir, "pairs.jsonl");
    bool ok = (images && rows) || at_fail_memory(j->log, strlen(j->dir));
    ok = ok && at_dir_make(j->log, images);
    if (ok) {
        j->rows = at_file_writer_create(j->log, rows);
        ok = j->rows != NULL;
    }
    for (size_t i = 0; ok && i < j->d->prompts; i++)
        ok = pair_prompt(j, i);
    ok = ok && at_file_writer_commit(j->rows);
    at_file_writer_destroy(&j->rows);
    at_free(images);
    at_free(rows);
    if (ok && j->result->pairs == 0)
        ok = at_fail(j->log, AT_ERROR_INPUT, "no pair: all %zu comparisons are ties; lower the tolerance (%g)",
                     j->result->ties, j->p->tolerance);
    return ok && write_about(j);
}

static bool folder_is_free(const char *path, struct at_log *log)
{
    char **names;
    size_t count;
    if (at_file_exists(path))
        return at_fail(log, AT_ERROR_INPUT, "%s is a file; name a new folder", path);
    if (!at_dir_exists(path))
        return true;
    if (!at_dir_list(log, path, &names, &count))
        return false;
    at_names_free(&names, count);
    return count == 0 || at_fail(log, AT_ERROR_INPUT, "%s is not empty; name a new folder, or remove it first", path);
}

bool at_make_pairs_write(const struct at_make_pairs_params *params, const struct at_eval_params *eval,
                         const struct at_drawings *drawings, struct at_make_pairs_result *result, struct at_log *log)
{
    *result = (struct at_make_pairs_result){.names = drawings->prompts};
    if (!folder_is_free(params->out, log))
        return false;
    char *dir = at_dir_replace_begin(log, params->out);
    if (!dir)
        return false;
    struct job job = {.p = params, .eval = eval, .d = drawings, .result = result, .dir = dir, .log = log};
    bool ok = write_all(&job) && at_dir_replace_commit(log, params->out);
    if (!ok && !at_path_remove(NULL, dir))
        at_warn(log, "%s is left over; remove it", dir);
    at_free(dir);
    return ok;
}

// The captions that pairs may be made of; freed with at_free.
static const char **choose_names(const struct at_emoji_set *set, size_t most, size_t *count, struct at_log *log)
{
    const char **names = at_calloc(set->count, sizeof(*names));
    *count = 0;
    if (!names)
        (void)at_fail_memory(log, set->count * sizeof(*names));
    for (size_t i = 0; names && i < set->count && (most == 0 || *count < most); i++)
        if (!set->items[i].held_out)
            names[(*count)++] = set->items[i].caption;
    return names;
}

static bool draw_and_write(struct at_model *m, struct at_truth *truth, const struct at_make_pairs_params *p,
                           struct at_make_pairs_result *result, struct at_log *log)
{
    const struct at_reward *rewards[] = {p->rule ? p->rule : &at_reward_taste, &at_reward_fidelity,
                                         &at_reward_saturation};
    bool listed = rewards[0] == rewards[1] || rewards[0] == rewards[2]; // then the parts would come twice
    struct at_eval_params eval = {.seeds = p->seeds ? p->seeds : DEFAULT_SEEDS,
                                  .first_seed = p->first_seed,
                                  .rewards = rewards,
                                  .reward_count = listed ? 1 : 3,
                                  .steps = p->steps,
                                  .cfg = p->cfg,
                                  .batch = p->batch,
                                  .keep = true,
                                  .progress = p->progress,
                                  .priv = p->priv};
    const char **names = choose_names(at_truth_names(truth), p->names, &eval.prompt_count, log);
    eval.prompts = names;
    struct at_drawings drawings = {0};
    bool ok = names && at_eval_draw(m, NULL, 0, "pairs", &eval, truth, &drawings) &&
              at_make_pairs_write(p, &eval, &drawings, result, log);
    at_drawings_finish(&drawings);
    at_free(names);
    return ok;
}

bool at_make_pairs(struct at_device *dev, const struct at_make_pairs_params *params,
                   struct at_make_pairs_result *result, struct at_log *log)
{
    if (params->seeds == 1)
        return at_fail(log, AT_ERROR_USAGE, "1 picture a name makes no pair; use 2 or more");
    if (!folder_is_free(params->out, log) || !at_dir_writable(log, params->out))
        return false;
    struct at_truth *truth = at_truth_open(log, NULL);
    struct at_model *m = truth ? at_model_open(dev, &(struct at_model_params){.path = params->model, .reading = params->reading}, log) : NULL;
    bool ok = m && draw_and_write(m, truth, params, result, log);
    at_model_destroy(&m);
    at_truth_close(&truth);
    return ok;
}
