// SPDX-License-Identifier: Apache-2.0
#include "pipelines/eval/eval.h"

#include "core/base/alloc.h"

#include <math.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)256 << 20) // of pictures in floats at a time

uint64_t at_eval_seed(const struct at_eval_params *params, size_t prompt, size_t seed)
{
    return params->first_seed + (uint64_t)prompt * params->seeds + seed;
}

void at_drawings_finish(struct at_drawings *d)
{
    at_free(d->scores);
    at_free(d->pixels);
    *d = (struct at_drawings){0};
}

const double *at_drawings_scores(const struct at_drawings *d, size_t reward)
{
    return d->scores + reward * d->prompts * d->seeds;
}

bool at_drawings_image(const struct at_drawings *d, size_t prompt, size_t seed, struct at_image *image,
                       struct at_log *log)
{
    size_t bytes = (size_t)d->width * (size_t)d->height * 3;
    if (!at_image_init(log, image, d->width, d->height, 3))
        return false;
    memcpy(image->pixels, d->pixels + (prompt * d->seeds + seed) * bytes, bytes);
    return true;
}

bool at_drawings_retrieval(const struct at_drawings *d, const char *const *prompts, const struct at_truth *truth,
                           size_t top, double *share, struct at_log *log)
{
    size_t values = (size_t)d->width * (size_t)d->height * 3, n = d->prompts * d->seeds, hits = 0;
    float *rgb = at_calloc(values, sizeof(*rgb));
    bool ok = rgb || at_fail_memory(log, values * sizeof(*rgb));
    for (size_t i = 0; ok && i < n; i++) {
        for (size_t j = 0; j < values; j++)
            rgb[j] = (float)d->pixels[i * values + j] / 255.0f;
        size_t rank = at_truth_rank(log, truth, prompts[i / d->seeds], rgb, d->width, d->height);
        ok = rank > 0;
        hits += rank > 0 && rank <= top;
    }
    at_free(rgb);
    *share = ok ? (double)hits / (double)n : 0;
    return ok;
}

bool at_eval_compare(const struct at_eval_params *params, size_t reward, const struct at_drawings *a,
                     const struct at_drawings *b, struct at_comparison *out, struct at_log *log)
{
    struct at_compare_params p = {.prompts = a->prompts,
                                  .seeds = a->seeds,
                                  .tolerance = params->tolerance,
                                  .confidence = params->confidence,
                                  .rounds = params->rounds};
    return at_compare(at_drawings_scores(a, reward), at_drawings_scores(b, reward), &p, out, log);
}

// One run of at_eval_draw.
struct drawing {
    struct at_model *m;
    const struct at_eval_params *p;
    struct at_truth *truth;
    struct at_drawings *out;
    const char *label;
    size_t from, count, total; // images of the chunk in hand, and of all
    struct at_sample_item *items;
    float *pixels; // of the chunk
};

static bool forward_progress(void *priv, double done)
{
    const struct drawing *d = priv;
    if (!d->p->progress)
        return true;
    return d->p->progress(d->p->priv, d->label, ((double)d->from + done * (double)d->count) / (double)d->total);
}

// Rounds the pictures to 8 bits, as files hold them, and scores them.
static bool score_chunk(struct drawing *d)
{
    struct at_drawings *out = d->out;
    size_t values = (size_t)out->width * (size_t)out->height * 3;
    for (size_t i = 0; i < d->count; i++) {
        float *rgb = d->pixels + i * values;
        size_t image = d->from + i;
        for (size_t j = 0; j < values; j++) {
            if (!isfinite(rgb[j]))
                return at_fail(d->m->log, AT_ERROR_FAILED, "%s: the picture of \"%s\", seed %llu, is not finite",
                               d->label, d->items[i].prompt, (unsigned long long)d->items[i].seed);
            float level = floorf(fminf(fmaxf(rgb[j], 0), 1) * 255.0f + 0.5f);
            rgb[j] = level / 255.0f;
            if (out->pixels)
                out->pixels[image * values + j] = (uint8_t)level;
        }
        struct at_picture picture = {d->items[i].prompt, rgb, out->width, out->height};
        for (size_t r = 0; r < d->p->reward_count; r++)
            if (!at_reward_score(d->m->log, d->p->rewards[r], d->truth, &picture, &out->scores[r * d->total + image]))
                return false;
    }
    return true;
}

static bool draw_chunk(struct drawing *d, struct at_sample_params *sample)
{
    for (size_t i = 0; i < d->count; i++) {
        size_t image = d->from + i;
        d->items[i] = (struct at_sample_item){.prompt = d->p->prompts[image / d->p->seeds],
                                              .seed = at_eval_seed(d->p, image / d->p->seeds, image % d->p->seeds)};
    }
    sample->items = d->items;
    sample->count = (int)d->count;
    return at_sample(d->m, sample, d->pixels, NULL) && score_chunk(d);
}

static bool draw_chunks(struct drawing *d, struct at_sample_params *sample)
{
    size_t values = (size_t)d->out->width * (size_t)d->out->height * 3;
    size_t most = CHUNK_BYTES / (values * sizeof(float));
    most = most < 1 ? 1 : most > d->total ? d->total : most;
    d->items = at_calloc(most, sizeof(*d->items));
    d->pixels = at_calloc(most * values, sizeof(*d->pixels));
    bool ok = (d->items && d->pixels) || at_fail_memory(d->m->log, most * values * sizeof(*d->pixels));
    for (d->from = 0; ok && d->from < d->total; d->from += d->count) {
        d->count = d->total - d->from < most ? d->total - d->from : most;
        ok = draw_chunk(d, sample);
    }
    at_free(d->items);
    at_free(d->pixels);
    return ok;
}

static bool check_params(const struct at_eval_params *p, const struct at_truth *truth, struct at_log *log)
{
    if (p->prompt_count == 0 || p->seeds == 0 || p->prompt_count > (size_t)INT32_MAX / p->seeds)
        return at_fail(log, AT_ERROR_USAGE, "%zu prompts with %zu seeds each: use at least one of each and fewer than "
                                            "2^31 images", p->prompt_count, p->seeds);
    if (p->reward_count == 0 || p->reward_count > AT_EVAL_REWARDS)
        return at_fail(log, AT_ERROR_USAGE, "%zu rewards: use 1 .. %d", p->reward_count, AT_EVAL_REWARDS);
    bool ok = true;
    for (size_t r = 0; r < p->reward_count; r++)
        for (size_t i = 0; ok && p->rewards[r]->needs_truth && i < p->prompt_count; i++)
            ok = truth ? at_truth_find(log, truth, p->prompts[i]) != NULL
                       : at_fail(log, AT_ERROR_FAILED, "reward %s needs true pictures", p->rewards[r]->name);
    return ok;
}

bool at_eval_draw(struct at_model *m, struct at_lora *const *loras, int lora_count, const char *label,
                  const struct at_eval_params *params, struct at_truth *truth, struct at_drawings *out)
{
    *out = (struct at_drawings){.prompts = params->prompt_count, .seeds = params->seeds, .rewards = params->reward_count};
    if (!check_params(params, truth, m->log))
        return false;
    struct drawing d = {.m = m, .p = params, .truth = truth, .out = out, .label = label};
    struct at_sample_params sample = {.steps = params->steps,
                                      .cfg = params->cfg == 0 ? AT_EVAL_CFG : params->cfg,
                                      .cfg_rescale = params->cfg_rescale,
                                      .rng = params->rng,
                                      .width = params->width,
                                      .height = params->height,
                                      .batch = params->batch,
                                      .loras = loras,
                                      .lora_count = lora_count,
                                      .progress = forward_progress,
                                      .priv = &d};
    if (!at_sample_size(m, &sample, &out->width, &out->height))
        return false;
    d.total = params->prompt_count * params->seeds;
    size_t values = (size_t)out->width * (size_t)out->height * 3;
    out->scores = at_calloc(params->reward_count * d.total, sizeof(*out->scores));
    out->pixels = params->keep ? at_calloc(d.total, values) : NULL;
    bool ok = (out->scores && (out->pixels || !params->keep)) || at_fail_memory(m->log, d.total * values);
    ok = ok && draw_chunks(&d, &sample);
    if (!ok)
        at_drawings_finish(out);
    return ok;
}
