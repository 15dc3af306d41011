// SPDX-License-Identifier: Apache-2.0
// Diffusion-DPO (Wallace et al., arXiv 2311.12908), in the form of the authors' released code: see
// objectives/objective.h for the loss. Winner and loser share noise, timestep, caption and flip.
#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/diffusion/ddim.h"
#include "core/io/file.h"
#include "pipelines/model/model_folder.h"
#include "pipelines/model/tiles.h"
#include "pipelines/train/dpo_network.h"
#include "pipelines/train/pair_set.h"
#include "pipelines/train/train_lora.h"
#include "pipelines/train/train_methods.h"

#include <math.h>
#include <string.h>

struct dpo_job {
    const struct at_train_dpo_params *p;
    struct at_log *log;
    struct at_model *m, *frozen; // frozen: the reference of full fine-tuning
    struct at_lora *lora;
    struct at_train_samples *samples;
    struct at_captions *captions;
    struct at_pair_set *pairs;
    struct at_dpo_network *network;
    int at_once;     // pictures whose gradients are taken at once
    bool first;      // no batch has run yet in a fresh run
    int side, size;  // of the latents, and of the pictures
    struct at_train_method method;
    uint32_t *order; // of the current epoch
    int64_t epoch;
    // One batch: 2B items, winners first.
    float *x, *target, *t, *m_policy, *m_reference, *seeds, *noise, *latent;
    double *weight, *policy_error, *reference_error, *dm;
};

// Fills items i (winner) and B + i (loser) from a pair. `draw` is the number that all randomness of the item hangs on.
static void fill_pair(struct dpo_job *j, int i, int64_t pair, uint64_t draw, int t)
{
    const struct at_train_dpo_params *p = j->p;
    uint64_t seed = p->train.seed;
    int batch = p->train.batch;
    bool mirrored = p->flip && at_rng_uniform(seed, AT_STREAM_FLIP, draw) < 0.5;
    bool drop = at_rng_uniform(seed, AT_STREAM_DROPOUT, draw) < p->caption_dropout;
    int32_t prompt = drop ? AT_CAPTION_EMPTY : j->pairs->prompt[pair];
    size_t n = j->pairs->latent;
    at_rng_normal(j->noise, n, seed, AT_STREAM_NOISE, draw);
    for (int side = 0; side < 2; side++) {
        int item = side * batch + i;
        float *x = j->x + (size_t)item * n, *target = j->target + (size_t)item * n;
        const float *moments = at_pair_moments(j->pairs, pair, side, mirrored);
        if (p->sample_posterior)
            at_rng_normal(j->latent, n, seed, AT_STREAM_POSTERIOR, 2 * draw + (uint64_t)side);
        at_model_latent(j->m, moments, p->sample_posterior ? j->latent : NULL, j->pairs->pixels, x);
        at_diffuse_target(j->m->schedule, t, x, j->noise, target, n);
        at_diffuse(j->m->schedule, t, x, j->noise, x, n);
        j->t[item] = (float)t;
        j->weight[item] = at_schedule_eps_weight(j->m->schedule, t);
        at_captions_put(j->captions, item, prompt, &j->pairs->sizes[pair]);
    }
}

static struct at_dpo_batch batch_of(const struct dpo_job *j)
{
    return (struct at_dpo_batch){.x = j->x, .target = j->target, .t = j->t};
}

// Errors of policy and reference in epsilon space for the batch at hand.
static bool measure(struct dpo_job *j)
{
    int n = 2 * j->p->train.batch;
    struct at_dpo_batch in = batch_of(j);
    if (!at_dpo_network_run(j->network, &in, j->m_policy, j->m_reference))
        return false;
    for (int i = 0; i < n; i++) {
        j->policy_error[i] = j->weight[i] * (double)j->m_policy[i];
        j->reference_error[i] = j->weight[i] * (double)j->m_reference[i];
    }
    return true;
}

static bool evaluate(struct dpo_job *j, struct at_objective_result *r)
{
    struct at_objective_batch batch = {
        .pairs = (size_t)j->p->train.batch, .policy = j->policy_error, .reference = j->reference_error};
    return at_objective_evaluate(&j->p->objective, &batch, j->dm, r, NULL, j->log);
}

// A fresh adapter or copy is the reference: z = 0 for every pair, so the loss is ln 2. Anything else is a fault. An adapter
// begins so to the bit; a copy is a graph of its own, and beta multiplies the rounding of its errors.
static bool check_start(struct dpo_job *j, const struct at_objective_result *r)
{
    bool first = j->first;
    j->first = false;
    double rounding = j->p->full ? 1e-3 * fmax(1, at_objective_beta(&j->p->objective) / 2000) : 1e-8;
    if (!first || j->p->objective.method != AT_OBJECTIVE_DPO || fabs(r->loss - log(2)) < rounding)
        return true;
    return at_fail(j->log, AT_ERROR_FAILED, "the first loss is %.6f, not ln 2: policy and reference differ", r->loss);
}

static void add_metrics(struct at_metrics *m, const struct at_objective_result *r)
{
    at_metrics_add(m, "loss", r->loss);
    at_metrics_add(m, "accuracy", r->accuracy);
    at_metrics_add(m, "margin", r->margin);
    at_metrics_add(m, "policy_win", r->policy_win);
    at_metrics_add(m, "policy_lose", r->policy_lose);
    at_metrics_add(m, "reference_win", r->reference_win);
    at_metrics_add(m, "reference_lose", r->reference_lose);
}

static int64_t pick(struct dpo_job *j, int64_t n)
{
    if (n / j->pairs->train != j->epoch) {
        j->epoch = n / j->pairs->train;
        at_rng_shuffle(j->order, (uint32_t)j->pairs->train, j->p->train.seed, AT_STREAM_DATA, (uint64_t)j->epoch);
    }
    return j->order[n % j->pairs->train];
}

static bool run_batch(void *priv, int64_t step, int micro, struct at_metrics *metrics)
{
    struct dpo_job *j = priv;
    int batch = j->p->train.batch, micros = j->p->train.accumulate > 0 ? j->p->train.accumulate : 1;
    int64_t first = (step * micros + micro) * batch;
    for (int i = 0; i < batch; i++) {
        uint64_t draw = (uint64_t)(first + i);
        int t = (int)at_rng_below(j->p->train.seed, AT_STREAM_TIME, draw,
                                  (uint64_t)j->m->schedule->config.train_steps);
        fill_pair(j, i, pick(j, first + i), draw, t);
    }
    struct at_objective_result r;
    if (!measure(j) || !evaluate(j, &r) || !check_start(j, &r))
        return false;
    for (int i = 0; i < 2 * batch; i++)
        j->seeds[i] = (float)(j->dm[i] * j->weight[i]);
    add_metrics(metrics, &r);
    struct at_dpo_batch in = batch_of(j);
    return at_dpo_network_backward(j->network, &in, j->seeds);
}

// Implicit accuracy on the held-out pairs: z averaged over fixed timesteps, with noise of its own.
static bool measure_held_out(struct dpo_job *j, double *accuracy, double *margin)
{
    static const int share[] = {10, 30, 50, 70}; // timesteps in percent of the schedule
    int batch = j->p->train.batch, steps = j->m->schedule->config.train_steps;
    int64_t count = j->pairs->count - j->pairs->train;
    double right = 0, sum = 0;
    for (int64_t first = 0; first < count; first += batch) {
        int n = count - first < batch ? (int)(count - first) : batch;
        double z[1024] = {0};
        for (int k = 0; k < 4; k++) {
            for (int i = 0; i < batch; i++) {
                int64_t pair = j->pairs->train + first + (i < n ? i : 0);
                fill_pair(j, i, pair, UINT64_C(0xffffffff) - (uint64_t)(pair * 4 + k), steps * share[k] / 100);
            }
            if (!measure(j))
                return false;
            for (int i = 0; i < n; i++)
                z[i] -= (j->policy_error[i] - j->policy_error[batch + i]) -
                        (j->reference_error[i] - j->reference_error[batch + i]);
        }
        for (int i = 0; i < n; i++) {
            z[i] *= 0.5 * at_objective_beta(&j->p->objective) / 4;
            right += z[i] > AT_OBJECTIVE_TIE ? 1 : z[i] < -AT_OBJECTIVE_TIE ? 0 : 0.5;
            sum += z[i];
        }
    }
    *accuracy = right / (double)count;
    *margin = sum / (double)count;
    return true;
}

// The same with other weights in place of the current ones, such as their average.
static bool measure_weights(struct dpo_job *j, float *const *values, double *accuracy, double *margin)
{
    const struct at_train_method *method = &j->method;
    float *current[AT_OPTIMIZER_SETS] = {0};
    bool ok = true, back = true;
    for (int s = 0; ok && s < method->set_count; s++) {
        struct at_params *set = method->sets[s];
        ok = ((current[s] = at_calloc((size_t)set->total, sizeof(float))) ||
              at_fail_memory(j->log, (size_t)set->total * sizeof(float))) && at_params_read(set, current[s]);
    }
    for (int s = 0; ok && s < method->set_count; s++)
        ok = at_params_write(method->sets[s], values[s]);
    ok = ok && measure_held_out(j, accuracy, margin);
    for (int s = 0; s < method->set_count; s++) {
        back = (!current[s] || at_params_write(method->sets[s], current[s])) && back;
        at_free(current[s]);
    }
    return ok && back;
}

// held_out.json: what the pairs that were not trained on say of the weights that are saved.
static bool save_held_out(struct dpo_job *j, const char *dir, float *const *values)
{
    double accuracy, margin;
    if (j->pairs->count == j->pairs->train)
        return true;
    if (!measure_weights(j, values, &accuracy, &margin))
        return false;
    char *path = at_path_join(dir, "held_out.json");
    struct at_json_doc *doc = at_json_create(j->log, false);
    bool ok = path && doc;
    if (ok) {
        at_json_put_int(at_json_root(doc), "pairs", j->pairs->count - j->pairs->train);
        at_json_put_num(at_json_root(doc), "implicit_accuracy", accuracy);
        at_json_put_num(at_json_root(doc), "margin", margin);
        ok = at_json_save(doc, path, true);
    }
    at_json_destroy(&doc);
    at_free(path);
    return ok;
}

static bool save(void *priv, const char *dir, float *const *values)
{
    struct dpo_job *j = priv;
    bool ok;
    if (!dir)
        return true;
    if (j->p->full) {
        struct at_model_folder folder = {.parts = AT_PART_UNET, .unet = values[0], .dtype = AT_ST_F32};
        ok = at_model_folder_save(j->m, dir, &folder);
    } else {
        ok = at_train_lora_save(j->lora, dir, values);
    }
    return ok && save_held_out(j, dir, values);
}

static bool allocate(struct dpo_job *j)
{
    size_t n = 2 * (size_t)j->p->train.batch, latent = j->pairs->latent;
    bool ok = (j->x = at_calloc(n * latent, sizeof(float))) && (j->target = at_calloc(n * latent, sizeof(float))) &&
              (j->t = at_calloc(n, sizeof(float))) &&
              (j->m_policy = at_calloc(n, sizeof(float))) && (j->m_reference = at_calloc(n, sizeof(float))) &&
              (j->seeds = at_calloc(n, sizeof(float))) && (j->noise = at_calloc(latent, sizeof(float))) &&
              (j->latent = at_calloc(latent, sizeof(float))) && (j->weight = at_calloc(n, sizeof(double))) &&
              (j->policy_error = at_calloc(n, sizeof(double))) && (j->reference_error = at_calloc(n, sizeof(double))) &&
              (j->dm = at_calloc(n, sizeof(double))) &&
              (j->order = at_calloc((size_t)j->pairs->train, sizeof(uint32_t)));
    return ok || at_fail_memory(j->log, n * 2 * latent * sizeof(float));
}

static bool open_network(struct dpo_job *j, struct at_device *dev)
{
    struct at_dpo_network_params p = {.dev = dev,
                                      .m = j->m,
                                      .adapter = j->p->full ? NULL : &j->lora->part[AT_COMPONENT_UNET],
                                      .frozen = j->frozen,
                                      .side = j->side,
                                      .captions = j->captions,
                                      .items = 2 * j->p->train.batch,
                                      .at_once = j->at_once,
                                      .recompute = at_fit_recompute(&j->p->train.fit)};
    j->network = at_dpo_network_create(&p, j->log);
    return j->network;
}

static bool check_params(const struct at_train_dpo_params *p, struct at_log *log)
{
    if (p->train.batch < 1 || p->train.batch > 1024)
        return at_fail(log, AT_ERROR_USAGE, "batch %d: must be 1 to 1024 pairs", p->train.batch);
    if (!(p->caption_dropout >= 0 && p->caption_dropout <= 1) || !(p->held_out >= 0 && p->held_out < 1))
        return at_fail(log, AT_ERROR_USAGE, "caption dropout must be in 0 .. 1 and the held-out share in 0 .. 1");
    return true;
}

static bool open_model(struct dpo_job *j, struct at_device *dev)
{
    const struct at_train_dpo_params *p = j->p;
    int replicas = at_spread_replicas(dev, j->at_once);
    struct at_model_params mp = {.path = p->model, .reading = p->reading, .trainable = p->full ? AT_PART_UNET : 0,
                                 .replicas = replicas};
    if (!(j->m = at_model_open(dev, &mp, j->log)))
        return false;
    if (j->m->unet.guidance_dim)
        return at_fail(j->log, AT_ERROR_INPUT, "%s is a latent consistency model (time_cond_proj_dim): the loss of a "
                       "denoiser would undo its distillation; tune the model it was made from", j->m->path);
    struct at_lora_params lp = p->lora;
    lp.replicas = replicas;
    lp.seed = p->train.seed;
    if (!p->full && !(j->lora = at_lora_create(j->m, &lp)))
        return false;
    if (j->lora)
        at_lora_adapt_texts(j->m, &j->lora, 1);
    return true;
}

static bool choose_size(struct dpo_job *j)
{
    const struct at_train_dpo_params *p = j->p;
    int factor = at_vae_factor(&j->m->vae);
    int size = p->size ? p->size : j->m->unet.sample_size ? j->m->unet.sample_size * factor : 512;
    if (size < factor || size % factor)
        return at_fail(j->log, AT_ERROR_USAGE, "size %d: must be a multiple of %d", size, factor);
    if (!at_tile_check(&j->m->vae, p->train.vae_tile, j->log))
        return false;
    j->m->vae_tile = at_tile_side(&j->m->vae, size, size, p->train.vae_tile, p->train.fit.tiling);
    j->side = size / factor;
    j->size = size;
    return true;
}

static bool open_pairs(struct dpo_job *j)
{
    const struct at_train_dpo_params *p = j->p;
    bool tight = p->train.fit.parts > 1 || p->train.fit.apart || p->train.fit.segments || p->train.fit.tiling;
    bool texts = j->lora && at_lora_has_text(j->lora);
    struct at_captions_params cp = {.items = 2 * p->train.batch, .in_graph = texts, .text = {p->clip_skip},
                                    .train = &p->train};
    if (!(j->captions = at_captions_create(j->m, &cp)))
        return false;
    struct at_pair_set_params sp = {.path = p->pairs, .size = j->size, .captions = j->captions, .coin = p->coin,
                                    .flip = p->flip, .held_out = p->held_out, .seed = p->train.seed,
                                    .cache = p->cache, .chunk = tight ? 1 : 0, .train = &p->train};
    if (!(j->pairs = at_pair_set_open(j->m, &sp)))
        return false;
    if (!j->samples) // the pairs are encoded
        at_model_drop(j->m, AT_PART_VAE | (texts ? 0 : AT_PART_TEXT));
    return true;
}

static bool open_job(struct dpo_job *j, struct at_device *dev)
{
    const struct at_train_dpo_params *p = j->p;
    j->at_once = (p->train.fit.apart ? 1 : 2) * p->train.batch;
    j->epoch = -1;
    j->first = !p->train.resume && !p->lora.file;
    if (!open_model(j, dev) || !choose_size(j))
        return false;
    if (p->train.samples.every && !(j->samples = at_train_samples_open(j->m, &j->lora, j->size, &p->train)))
        return false;
    struct at_model_params mp = {.path = p->model, .reading = p->reading, .parts = AT_PART_UNET, .exact = true};
    return open_pairs(j) && (!p->full || (j->frozen = at_model_open(dev, &mp, j->log))) && allocate(j) &&
           open_network(j, dev);
}

static void close_job(struct dpo_job *j)
{
    at_dpo_network_destroy(&j->network);
    at_pair_set_close(&j->pairs);
    at_captions_destroy(&j->captions);
    at_train_samples_close(&j->samples);
    at_lora_destroy(&j->lora);
    at_model_destroy(&j->frozen);
    at_model_destroy(&j->m);
    void *const buffers[] = {j->x,     j->target, j->t,      j->m_policy,     j->m_reference,     j->seeds, j->noise,
                             j->latent, j->weight, j->policy_error, j->reference_error, j->dm, j->order};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); i++)
        at_free(buffers[i]);
}

static bool run_job(struct at_device *dev, const void *params, struct at_log *log)
{
    struct dpo_job j = {.p = params, .log = log};
    bool ok = open_job(&j, dev);
    if (ok) {
        j.method = (struct at_train_method){.priv = &j, .name = "dpo", .rate = "pairs_per_second",
                                            .sets = {j.m->unet_params}, .set_names = {"unet"}, .set_count = 1,
                                            .batch = run_batch, .save = save, .samples = j.samples};
        if (j.lora)
            at_train_lora(&j.method, j.lora, &j.p->train);
        ok = at_train(&j.method, &j.p->train, log);
    }
    close_job(&j);
    return ok || at_fail_unsaid(log);
}

// A policy of all weights and its reference are not the same graph, so that halves round them differently, and beta
// multiplies that.
static bool check_device(const struct at_device *dev, bool full, struct at_log *log)
{
    return dev->activations != AT_F16 || !full ||
           at_fail(log, AT_ERROR_USAGE, "--activations f16 with --full: halves round the model and its reference "
                   "differently, and the loss multiplies that by beta; use --activations f32, or train an adapter");
}

bool at_train_dpo(struct at_device *dev, const struct at_train_dpo_params *params, struct at_log *log)
{
    struct at_train_dpo_params p = *params;
    p.train.pairs = true;
    return check_device(dev, p.full, log) && check_params(&p, log) && at_train_fit(dev, &p.train, run_job, &p, log) && run_job(dev, &p, log);
}
