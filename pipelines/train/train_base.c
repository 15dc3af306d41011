// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/diffusion/ddim.h"
#include "pipelines/model/model_folder.h"
#include "pipelines/model/spread.h"
#include "pipelines/model/text.h"
#include "pipelines/model/tiles.h"
#include "pipelines/train/train_methods.h"

#include <string.h>

struct base_job {
    const struct at_train_base_params *p;
    struct at_log *log;
    struct at_model *m;
    struct at_pictures *pictures;
    struct at_train_samples *samples;
    struct at_spread *spread;
    int64_t count; // cached pictures
    int length;    // integers of a tokenised prompt
    size_t latent; // floats of a latent
    float *moments;
    int32_t *tokens, *empty; // (count,length), (length)
    struct at_sizes *sizes;  // (count)
    uint32_t *order;         // of the current epoch
    int64_t epoch;
    // One batch.
    float *x, *target, *t, *told, *noise, *errors, *seeds; // told: sizes (batch,6)
    int32_t *ids, *split;
};

static bool build(const void *priv, struct at_graph *g, int worker, int batch, struct at_ports *ports)
{
    const struct base_job *j = priv;
    int side = j->p->data.size / at_vae_factor(&j->m->vae), c = j->m->unet.in_channels;
    struct at_node *pooled, **in = ports->in + at_text_inputs(j->m, g, batch, ports->in);
    in[0] = at_graph_input(g, "x", AT_SHAPE(batch, side, side, c), AT_F32);
    in[1] = at_graph_input(g, "t", AT_SHAPE(batch), AT_F32);
    in[2] = at_graph_input(g, "target", AT_SHAPE(batch, side, side, c), AT_F32);
    if (j->m->unet.addition_time)
        in[3] = at_graph_input(g, "sizes", AT_SHAPE(batch, AT_SIZES), AT_F32);
    struct at_node *hidden = at_text_graph(j->m, g, worker, NULL, ports->in, &pooled);
    struct at_builder unet = {.g = g, .params = j->m->unet_params, .replica = worker};
    struct at_unet_inputs to = {.x = in[0], .t = in[1], .context = hidden, .pooled = pooled, .time_ids = in[3]};
    ports->out[0] = at_sq_err(g, at_unet(&unet, &j->m->unet, &to), in[2], NULL);
    return at_graph_ok(g);
}

// The picture of draw number n: every epoch goes through all cached pictures once, in its own order.
static int64_t pick(struct base_job *j, int64_t n)
{
    if (n / j->count != j->epoch) {
        j->epoch = n / j->count;
        at_rng_shuffle(j->order, (uint32_t)j->count, j->p->train.seed, AT_STREAM_DATA, (uint64_t)j->epoch);
    }
    return j->order[n % j->count];
}

static void fill_item(struct base_job *j, int i, int64_t n)
{
    uint64_t seed = j->p->train.seed, index = (uint64_t)n;
    int64_t k = pick(j, n);
    size_t at = (size_t)i * j->latent, row = (size_t)j->length;
    float *x = j->x + at, *target = j->target + at;
    int t = (int)at_rng_below(seed, AT_STREAM_TIME, index, (uint64_t)j->m->schedule->config.train_steps);
    at_rng_normal(j->noise, j->latent, seed, AT_STREAM_POSTERIOR, index);
    at_model_latent(j->m, j->moments + (size_t)k * 2 * j->latent, j->noise,
                    (int64_t)(j->latent / (size_t)j->m->vae.latent_channels), x);
    at_rng_normal(j->noise, j->latent, seed, AT_STREAM_NOISE, index);
    at_diffuse_target(j->m->schedule, t, x, j->noise, target, j->latent);
    at_diffuse(j->m->schedule, t, x, j->noise, x, j->latent);
    j->t[i] = (float)t;
    at_sizes_fill(&j->sizes[k], j->told + (size_t)i * AT_SIZES);
    bool drop = at_rng_uniform(seed, AT_STREAM_DROPOUT, index) < j->p->caption_dropout;
    memcpy(j->ids + (size_t)i * row, drop ? j->empty : j->tokens + (size_t)k * row, row * sizeof(*j->ids));
}

static bool run_batch(void *priv, int64_t step, int micro, struct at_metrics *metrics)
{
    struct base_job *j = priv;
    int batch = j->p->train.batch, micros = j->p->train.accumulate > 0 ? j->p->train.accumulate : 1;
    int64_t first = (step * micros + micro) * batch;
    for (int i = 0; i < batch; i++)
        fill_item(j, i, first + i);
    const void *in[AT_PORTS];
    const void **next = in + at_text_split(j->m, j->ids, batch, j->split, in);
    memcpy(next, (const void *[]){j->x, j->t, j->target, j->told}, 4 * sizeof(*next));
    if (!at_spread_run(j->spread, batch, in, (void *[]){j->errors}))
        return false;
    double loss = 0;
    for (int i = 0; i < batch; i++) {
        loss += (double)j->errors[i] / batch;
        j->seeds[i] = 1.0f / (float)batch;
    }
    at_metrics_add(metrics, "loss", loss);
    return at_spread_backward(j->spread, (const void *[]){j->seeds});
}

static bool save(void *priv, const char *dir, float *const *values)
{
    struct base_job *j = priv;
    if (!dir)
        return true;
    struct at_model_folder folder = {.parts = AT_PART_TEXT | AT_PART_UNET, .unet = values[j->m->texts],
                                     .dtype = AT_ST_F16};
    memcpy(folder.text, values, (size_t)j->m->texts * sizeof(*values));
    return at_model_folder_save(j->m, dir, &folder);
}

// Encodes every picture once, some at a time.
static bool cache_latents(struct base_job *j)
{
    enum { CHUNK = 64 };
    int size = j->p->data.size;
    size_t pixels = (size_t)size * (size_t)size * 3;
    float *images = at_calloc(CHUNK * pixels, sizeof(float));
    bool ok = images;
    int64_t end = at_is_dry(j->m->dev) && j->count > CHUNK ? CHUNK : j->count;
    for (int64_t first = 0; ok && first < end; first += CHUNK) {
        int n = j->count - first < CHUNK ? (int)(j->count - first) : CHUNK;
        ok = at_train_goes_on(&j->p->train, j->log);
        for (int i = 0; ok && i < n; i++) {
            int64_t k = first + i;
            const char *caption =
                at_pictures_draw(j->pictures, (uint64_t)k, images + (size_t)i * pixels, &j->sizes[k]);
            ok = caption && at_text_tokenize(j->m, caption, j->tokens + (size_t)k * (size_t)j->length);
        }
        ok = ok && at_model_encode(j->m, images, CHUNK, size, size, j->moments + (size_t)first * 2 * j->latent);
    }
    at_free(images);
    return ok;
}

static bool allocate(struct base_job *j)
{
    size_t batch = (size_t)j->p->train.batch, n = (size_t)j->count, length = (size_t)j->length;
    bool ok = (j->moments = at_calloc((n + 64) * 2 * j->latent, sizeof(float))) &&
              (j->tokens = at_calloc(n * length, sizeof(int32_t))) && (j->empty = at_calloc(length, sizeof(int32_t))) &&
              (j->order = at_calloc(n, sizeof(uint32_t))) &&
              (j->sizes = at_calloc(n, sizeof(*j->sizes))) && (j->told = at_calloc(batch * AT_SIZES, sizeof(float))) &&
              (j->x = at_calloc(batch * j->latent, sizeof(float))) &&
              (j->target = at_calloc(batch * j->latent, sizeof(float))) && (j->t = at_calloc(batch, sizeof(float))) &&
              (j->noise = at_calloc(j->latent, sizeof(float))) && (j->errors = at_calloc(batch, sizeof(float))) &&
              (j->seeds = at_calloc(batch, sizeof(float))) && (j->ids = at_calloc(batch * length, sizeof(int32_t))) &&
              (j->split = at_calloc(batch * length, sizeof(int32_t)));
    return ok || at_fail_memory(j->log, (n * 2 + batch * 2) * j->latent * sizeof(float));
}

static bool open_job(struct base_job *j, struct at_device *dev)
{
    const struct at_train_base_params *p = j->p;
    if (p->train.batch < 1)
        return at_fail(j->log, AT_ERROR_USAGE, "batch %d: must be 1 or more pictures", p->train.batch);
    if (!(p->caption_dropout >= 0 && p->caption_dropout <= 1))
        return at_fail(j->log, AT_ERROR_USAGE, "caption dropout %g: must be in 0 .. 1", p->caption_dropout);
    struct at_model_params mp = {.path = p->model, .reading = p->reading, .trainable = AT_PART_TEXT | AT_PART_UNET,
                                 .replicas = at_spread_replicas(dev, p->train.batch), .untrained = !p->pretrained,
                                 .fresh = AT_PART_TEXT | AT_PART_UNET, .seed = p->train.seed};
    if (!(j->m = at_model_open(dev, &mp, j->log)) || !(j->pictures = at_pictures_open(&p->data, j->log)))
        return false;
    if (j->m->unet.guidance_dim)
        return at_fail(j->log, AT_ERROR_INPUT, "%s is a latent consistency model (time_cond_proj_dim): those are "
                       "distilled, not trained from pictures", j->m->path);
    int factor = at_vae_factor(&j->m->vae), side = p->data.size / factor;
    if (p->data.size < factor || p->data.size % factor)
        return at_fail(j->log, AT_ERROR_USAGE, "size %d: must be a multiple of %d", p->data.size, factor);
    if (!at_tile_check(&j->m->vae, p->train.vae_tile, j->log))
        return false;
    j->m->vae_tile = at_tile_side(&j->m->vae, p->data.size, p->data.size, p->train.vae_tile, p->train.fit.tiling);
    j->latent = (size_t)side * (size_t)side * (size_t)j->m->vae.latent_channels;
    j->length = at_text_ids(j->m);
    j->count = at_pictures_count(j->pictures) * (p->data.imagefolder ? 1 : p->views > 0 ? p->views : 48);
    j->epoch = -1;
    struct at_spread_params sp = {.dev = dev, .items = p->train.batch, .build = build, .priv = j, .gradient = true,
                                  .recompute = at_fit_recompute(&p->train.fit)};
    if (p->train.samples.every && !(j->samples = at_train_samples_open(j->m, NULL, p->data.size, &p->train)))
        return false;
    if (!allocate(j) || !at_text_tokenize(j->m, "", j->empty) || !cache_latents(j))
        return false;
    if (!j->samples)
        at_model_drop(j->m, AT_PART_VAE);
    return (j->spread = at_spread_create(&sp, j->log));
}

static bool run_job(struct at_device *dev, const void *params, struct at_log *log)
{
    struct base_job j = {.p = params, .log = log};
    bool ok = open_job(&j, dev);
    if (ok) {
        static const char *const names[2][AT_TEXTS + 1] = {{"text", "unet"}, {"text", "text_2", "unet"}};
        int texts = j.m->texts;
        struct at_params *sets[AT_TEXTS + 1] = {j.m->text[0].params, j.m->text[1].params};
        sets[texts] = j.m->unet_params;
        struct at_train_method method = {.priv = &j, .name = "base", .rate = "pictures_per_second", .sets = sets,
                                         .set_names = names[texts - 1], .set_count = texts + 1, .batch = run_batch,
                                         .save = save, .samples = j.samples};
        ok = at_train(&method, &j.p->train, log);
    }
    at_spread_destroy(&j.spread);
    at_pictures_close(&j.pictures);
    at_train_samples_close(&j.samples);
    at_model_destroy(&j.m);
    void *const buffers[] = {j.moments, j.tokens, j.empty, j.order, j.x, j.target, j.t, j.noise, j.errors, j.seeds,
                             j.ids, j.split, j.sizes, j.told};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); i++)
        at_free(buffers[i]);
    return ok || at_fail_unsaid(log);
}

bool at_train_base(struct at_device *dev, const struct at_train_base_params *params, struct at_log *log)
{
    struct at_train_base_params p = *params;
    return at_train_fit(dev, &p.train, run_job, &p, log) && run_job(dev, &p, log);
}
