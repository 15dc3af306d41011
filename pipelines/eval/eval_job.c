// SPDX-License-Identifier: Apache-2.0
// The whole job of `attune eval`, and its CSV file.
#include "pipelines/eval/eval.h"

#include "core/base/alloc.h"
#include "core/io/file.h"

#include <stdio.h>
#include <string.h>

static bool put(struct at_file_writer *w, const char *text)
{
    return at_file_writer_put(w, text, strlen(text));
}

// A field of RFC 4180: quoted when it holds a comma, a quote or a line break.
static bool put_field(struct at_file_writer *w, const char *text)
{
    if (!strpbrk(text, ",\"\r\n"))
        return put(w, text);
    bool ok = put(w, "\"");
    for (const char *p = text; ok && *p; p++)
        ok = *p == '"' ? put(w, "\"\"") : at_file_writer_put(w, p, 1);
    return ok && put(w, "\"");
}

static bool put_row(struct at_file_writer *w, const struct at_eval_params *p, size_t reward, size_t image,
                    const struct at_drawings *const *drawings, size_t count)
{
    char text[64];
    size_t prompt = image / p->seeds;
    snprintf(text, sizeof(text), ",%llu,%s", (unsigned long long)at_eval_seed(p, prompt, image % p->seeds),
             p->rewards[reward]->name);
    bool ok = put_field(w, p->prompts[prompt]) && put(w, text);
    for (size_t i = 0; ok && i < count; i++) {
        snprintf(text, sizeof(text), ",%.9g", at_drawings_scores(drawings[i], reward)[image]);
        ok = put(w, text);
    }
    return ok && put(w, "\n");
}

bool at_eval_csv(const char *path, const struct at_eval_params *params, const char *const *labels,
                 const struct at_drawings *const *drawings, size_t count, struct at_log *log)
{
    struct at_file_writer *w = at_file_writer_create(log, path);
    bool ok = w && put(w, "prompt,seed,reward");
    for (size_t i = 0; ok && i < count; i++)
        ok = put(w, ",") && put_field(w, labels[i]);
    ok = ok && put(w, "\n");
    for (size_t r = 0; ok && r < params->reward_count; r++)
        for (size_t i = 0; ok && i < params->prompt_count * params->seeds; i++)
            ok = put_row(w, params, r, i, drawings, count);
    ok = ok && at_file_writer_commit(w);
    at_file_writer_destroy(&w);
    return ok;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

// Draws one side with the model in *m, which is opened or exchanged as needed.
static bool draw_side(struct at_device *dev, struct at_model **m, const char **open, const struct at_eval_side *side,
                      const struct at_eval_params *params, struct at_truth *truth, struct at_drawings *out,
                      struct at_log *log)
{
    if (!*m || !same_text(*open, side->model)) {
        at_model_destroy(m);
        *m = at_model_open(dev, &(struct at_model_params){.path = side->model, .reading = side->reading, .lazy = true}, log);
        *open = side->model;
        if (!*m)
            return false;
    }
    struct at_lora *loras[AT_MODEL_ADAPTERS] = {NULL};
    bool ok = true;
    for (int i = 0; ok && i < side->adapter_count; i++)
        ok = (loras[i] = at_lora_open(*m, side->adapters[i].file, side->adapters[i].strength));
    ok = ok && at_eval_draw(*m, loras, side->adapter_count, side->label, params, truth, out);
    for (int i = 0; i < side->adapter_count; i++)
        at_lora_destroy(&loras[i]);
    return ok;
}

static bool compare_all(const struct at_eval_params *params, const struct at_drawings *a, const struct at_drawings *b,
                        struct at_comparison *comparisons, struct at_log *log)
{
    if (a->width != b->width || a->height != b->height)
        at_warn(log, "the models draw at %d x %d and %d x %d pixels; their scores may not compare", a->width, a->height,
                b->width, b->height);
    bool ok = true;
    for (size_t r = 0; ok && r < params->reward_count; r++)
        ok = at_eval_compare(params, r, a, b, &comparisons[r], log);
    return ok;
}

bool at_eval(struct at_device *dev, const struct at_eval_side *a, const struct at_eval_side *b,
             const struct at_eval_params *params, const char *csv, struct at_comparison *comparisons,
             struct at_log *log)
{
    struct at_model *m = NULL;
    const char *open = NULL;
    struct at_truth *truth = NULL;
    struct at_drawings da = {0}, db = {0};
    bool need = false, ok = true;
    for (size_t r = 0; r < params->reward_count; r++)
        need = need || params->rewards[r]->needs_truth;
    if (need) {
        truth = at_truth_open(log, NULL);
        ok = truth != NULL;
        for (size_t i = 0; ok && i < params->prompt_count; i++)
            ok = at_truth_find(log, truth, params->prompts[i]) != NULL;
    }
    ok = ok && draw_side(dev, &m, &open, a, params, truth, &da, log) &&
         draw_side(dev, &m, &open, b, params, truth, &db, log) && compare_all(params, &da, &db, comparisons, log);
    if (ok && csv)
        ok = at_eval_csv(csv, params, (const char *const[]){a->label, b->label},
                         (const struct at_drawings *const[]){&da, &db}, 2, log);
    at_drawings_finish(&da);
    at_drawings_finish(&db);
    at_truth_close(&truth);
    at_model_destroy(&m);
    return ok;
}
