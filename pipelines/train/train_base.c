// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/diffusion/ddim.h"
#include "pipelines/model/model_folder.h"
#include "pipelines/model/spread.h"
#include "pipelines/model/tiles.h"
#include "pipelines/train/captions.h"
#include "pipelines/train/network.h"
#include "pipelines/train/train_lora.h"
#include "pipelines/train/train_methods.h"

#include <string.h>

struct base_job {
    const struct at_train_base_params *p;
    struct at_log *log;
    struct at_model *m;
    struct at_lora *lora; // NULL: all weights are trained
    struct at_pictures *pictures;
    struct at_captions *captions;
    struct at_train_samples *samples;
    struct at_spread *spread;
    int size;      // pixels of a picture's side
    int64_t count; // cached pictures
    size_t latent; // floats of a latent
    float *moments;
    int32_t *caption;       // (count)
    struct at_sizes *sizes; // (count)
    uint32_t *order;        // of the current epoch
    int64_t epoch;
    float *x, *target, *t, *noise, *errors, *seeds; // one batch
};

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
    size_t at = (size_t)i * j->latent;
    float *x = j->x + at, *target = j->target + at;
    int t = (int)at_rng_below(seed, AT_STREAM_TIME, index, (uint64_t)j->m->schedule->config.train_steps);
    at_rng_normal(j->noise, j->latent, seed, AT_STREAM_POSTERIOR, index);
    at_model_latent(j->m, j->moments + (size_t)k * 2 * j->latent, j->noise,
                    (int64_t)(j->latent / (size_t)j->m->vae.latent_channels), x);
    at_rng_normal(j->noise, j->latent, seed, AT_STREAM_NOISE, index);
    at_diffuse_target(j->m->schedule, t, x, j->noise, target, j->latent);
    at_diffuse(j->m->schedule, t, x, j->noise, x, j->latent);
    j->t[i] = (float)t;
    bool drop = at_rng_uniform(seed, AT_STREAM_DROPOUT, index) < j->p->caption_dropout;
    at_captions_put(j->captions, i, drop ? AT_CAPTION_EMPTY : j->caption[k], &j->sizes[k]);
}

static bool run_batch(void *priv, int64_t step, int micro, struct at_metrics *metrics)
{
    struct base_job *j = priv;
    int batch = j->p->train.batch, micros = j->p->train.accumulate > 0 ? j->p->train.accumulate : 1;
    int64_t first = (step * micros + micro) * batch;
    for (int i = 0; i < batch; i++)
        fill_item(j, i, first + i);
    const void *in[AT_PORTS] = {j->x, j->t, j->target};
    at_captions_ports(j->captions, in + 3);
    if (!at_spread_run(j->spread, batch, in, (void *[]){j->errors}))
        return false;
    double loss = 0;
    for (int i = 0; i < batch; i++) {
        loss += (double)j->errors[i] / batch;
        j->seeds[i] = 1.0f / (float)batch;
    }
    at_metrics_add(metrics, "loss", loss);
    return at_spread_backward(j->spread, in, (const void *[]){j->seeds});
}

static bool save(void *priv, const char *dir, float *const *values)
{
    struct base_job *j = priv;
    if (!dir)
        return true;
    if (j->lora)
        return at_train_lora_save(j->lora, dir, values);
    struct at_model_folder folder = {.parts = AT_PART_TEXT | AT_PART_UNET, .unet = values[j->m->texts],
                                     .dtype = AT_ST_F16};
    memcpy(folder.text, values, (size_t)j->m->texts * sizeof(*values));
    return at_model_folder_save(j->m, dir, &folder);
}

// Encodes every picture once, some at a time.
static bool cache_latents(struct base_job *j)
{
    enum { CHUNK = 64 };
    int size = j->size;
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
            ok = caption && at_captions_add(j->captions, caption, &j->caption[k]);
        }
        ok = ok && at_model_encode(j->m, images, CHUNK, size, size, j->moments + (size_t)first * 2 * j->latent);
    }
    at_free(images);
    return ok;
}

static bool allocate(struct base_job *j)
{
    size_t batch = (size_t)j->p->train.batch, n = (size_t)j->count;
    bool ok = (j->moments = at_calloc((n + 64) * 2 * j->latent, sizeof(float))) &&
              (j->caption = at_calloc(n, sizeof(int32_t))) && (j->order = at_calloc(n, sizeof(uint32_t))) &&
              (j->sizes = at_calloc(n, sizeof(*j->sizes))) && (j->x = at_calloc(batch * j->latent, sizeof(float))) &&
              (j->target = at_calloc(batch * j->latent, sizeof(float))) && (j->t = at_calloc(batch, sizeof(float))) &&
              (j->noise = at_calloc(j->latent, sizeof(float))) && (j->errors = at_calloc(batch, sizeof(float))) &&
              (j->seeds = at_calloc(batch, sizeof(float)));
    return ok || at_fail_memory(j->log, (n * 2 + batch * 2) * j->latent * sizeof(float));
}

static bool check_params(const struct at_train_base_params *p, struct at_log *log)
{
    if (p->train.batch < 1)
        return at_fail(log, AT_ERROR_USAGE, "batch %d: must be 1 or more pictures", p->train.batch);
    return (p->caption_dropout >= 0 && p->caption_dropout <= 1) ||
           at_fail(log, AT_ERROR_USAGE, "caption dropout %g: must be in 0 .. 1", p->caption_dropout);
}

static bool open_model(struct base_job *j, struct at_device *dev)
{
    const struct at_train_base_params *p = j->p;
    int replicas = at_spread_replicas(dev, p->train.batch);
    struct at_model_params mp = {.path = p->model, .reading = p->reading, .replicas = replicas,
                                 .trainable = p->adapter ? 0 : AT_PART_TEXT | AT_PART_UNET,
                                 .untrained = !p->pretrained && !p->adapter, .fresh = AT_PART_TEXT | AT_PART_UNET,
                                 .seed = p->train.seed};
    if (!(j->m = at_model_open(dev, &mp, j->log)))
        return false;
    if (j->m->unet.guidance_dim)
        return at_fail(j->log, AT_ERROR_INPUT, "%s is a latent consistency model (time_cond_proj_dim): those are "
                       "distilled, not trained from pictures", j->m->path);
    struct at_lora_params lp = p->lora;
    lp.replicas = replicas;
    lp.seed = p->train.seed;
    if (p->adapter && !(j->lora = at_lora_create(j->m, &lp)))
        return false;
    if (j->lora)
        at_lora_adapt_texts(j->m, &j->lora, 1);
    return true;
}

static bool open_data(struct base_job *j)
{
    const struct at_train_base_params *p = j->p;
    int factor = at_vae_factor(&j->m->vae), own = j->m->unet.sample_size ? j->m->unet.sample_size * factor : 512;
    struct at_picture_source source = p->data;
    source.size = j->size = source.size ? source.size : own;
    if (!(j->pictures = at_pictures_open(&source, j->log)))
        return false;
    if (j->size < factor || j->size % factor)
        return at_fail(j->log, AT_ERROR_USAGE, "size %d: must be a multiple of %d", j->size, factor);
    if (!at_tile_check(&j->m->vae, p->train.vae_tile, j->log))
        return false;
    j->m->vae_tile = at_tile_side(&j->m->vae, j->size, j->size, p->train.vae_tile, p->train.fit.tiling);
    size_t side = (size_t)(j->size / factor);
    j->latent = side * side * (size_t)j->m->vae.latent_channels;
    j->count = at_pictures_count(j->pictures) * (p->data.imagefolder ? 1 : p->views > 0 ? p->views : 48);
    j->epoch = -1;
    struct at_captions_params cp = {.items = p->train.batch, .in_graph = !j->lora || at_lora_has_text(j->lora),
                                    .train = &p->train};
    return (j->captions = at_captions_create(j->m, &cp)) && allocate(j);
}

static bool open_job(struct base_job *j, struct at_device *dev)
{
    const struct at_train_params *p = &j->p->train;
    if (!check_params(j->p, j->log) || !open_model(j, dev) || !open_data(j))
        return false;
    if (p->samples.every && !(j->samples = at_train_samples_open(j->m, &j->lora, j->size, p)))
        return false;
    struct at_network network = {j->m, j->captions, j->lora ? &j->lora->part[AT_COMPONENT_UNET] : NULL,
                                 j->size / at_vae_factor(&j->m->vae)};
    struct at_spread_params sp = {.dev = dev, .items = p->batch, .build = at_network_build, .priv = &network,
                                  .gradient = true, .recompute = at_fit_recompute(&p->fit)};
    if (!cache_latents(j) || !at_captions_encode(j->captions, NULL))
        return false;
    if (!j->samples)
        at_model_drop(j->m, AT_PART_VAE | (j->lora && !at_lora_has_text(j->lora) ? AT_PART_TEXT : 0));
    return (j->spread = at_spread_create(&sp, j->log));
}

static void list_sets(const struct base_job *j, struct at_train_method *method)
{
    static const char *const words[AT_TEXTS] = {"text", "text_2"};
    if (j->lora) {
        at_train_lora(method, j->lora, &j->p->train);
        return;
    }
    for (int i = 0; i < j->m->texts; i++) {
        method->sets[i] = j->m->text[i].params;
        method->set_names[i] = words[i];
    }
    method->sets[j->m->texts] = j->m->unet_params;
    method->set_names[j->m->texts] = "unet";
    method->set_count = j->m->texts + 1;
}

static bool run_job(struct at_device *dev, const void *params, struct at_log *log)
{
    struct base_job j = {.p = params, .log = log};
    bool ok = open_job(&j, dev);
    if (ok) {
        struct at_train_method method = {.priv = &j, .name = "base", .rate = "pictures_per_second",
                                         .batch = run_batch, .save = save, .samples = j.samples};
        list_sets(&j, &method);
        ok = at_train(&method, &j.p->train, log);
    }
    at_spread_destroy(&j.spread);
    at_pictures_close(&j.pictures);
    at_train_samples_close(&j.samples);
    at_captions_destroy(&j.captions);
    at_lora_destroy(&j.lora);
    at_model_destroy(&j.m);
    void *const buffers[] = {j.moments, j.caption, j.order, j.x, j.target, j.t, j.noise, j.errors, j.seeds, j.sizes};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); i++)
        at_free(buffers[i]);
    return ok || at_fail_unsaid(log);
}

bool at_train_base(struct at_device *dev, const struct at_train_base_params *params, struct at_log *log)
{
    struct at_train_base_params p = *params;
    return at_train_fit(dev, &p.train, run_job, &p, log) && run_job(dev, &p, log);
}
