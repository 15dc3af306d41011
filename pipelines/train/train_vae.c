// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "pipelines/model/model_folder.h"
#include "pipelines/model/spread.h"
#include "pipelines/model/tiles.h"
#include "pipelines/train/train_methods.h"

#include <math.h>
#include <string.h>

#define TERMS 5 // absolute error, squared error, absolute error of both differences, KL

struct vae_job {
    const struct at_train_vae_params *p;
    struct at_log *log;
    struct at_model *m;
    struct at_pictures *pictures;
    struct at_spread *spread;
    float *images, *noise, *terms[TERMS], *seeds[TERMS];
    size_t pixels, latent; // floats an item
    double weight[TERMS];
};

static bool build(const void *priv, struct at_graph *g, int worker, int batch, struct at_ports *ports)
{
    const struct vae_job *j = priv;
    int size = j->p->data.size, side = size / at_vae_factor(&j->m->vae), c = j->m->vae.latent_channels;
    struct at_builder b = {.g = g, .params = j->m->vae_params, .replica = worker};
    struct at_node *x = at_graph_input(g, "image", AT_SHAPE(batch, size, size, 3), AT_F32);
    struct at_node *noise = at_graph_input(g, "noise", AT_SHAPE(batch, side, side, c), AT_F32);
    struct at_node *moments = at_vae_encode(&b, &j->m->vae, x);
    struct at_node *y = at_vae_decode(&b, &j->m->vae, at_gaussian_sample(g, moments, noise));
    ports->in[0] = x;
    ports->in[1] = noise;
    ports->out[0] = at_abs_err(g, y, x);
    ports->out[1] = at_sq_err(g, y, x, NULL);
    ports->out[2] = at_abs_err(g, at_diff(g, y, 1), at_diff(g, x, 1));
    ports->out[3] = at_abs_err(g, at_diff(g, y, 2), at_diff(g, x, 2));
    ports->out[4] = at_gaussian_kl(g, moments);
    return at_graph_ok(g);
}

static bool run_batch(void *priv, int64_t step, int micro, struct at_metrics *metrics)
{
    struct vae_job *j = priv;
    int batch = j->p->train.batch, micros = j->p->train.accumulate > 0 ? j->p->train.accumulate : 1;
    uint64_t first = (uint64_t)((step * micros + micro) * batch);
    for (int i = 0; i < batch; i++) {
        uint64_t index = first + (uint64_t)i;
        if (!at_pictures_draw(j->pictures, index, j->images + (size_t)i * j->pixels, NULL))
            return false;
        at_rng_normal(j->noise + (size_t)i * j->latent, j->latent, j->p->train.seed, AT_STREAM_POSTERIOR, index);
    }
    const void *const in[] = {j->images, j->noise};
    if (!at_spread_run(j->spread, batch, in, (void *const *)j->terms))
        return false;
    double mean[TERMS] = {0}, loss = 0;
    for (int t = 0; t < TERMS; t++) {
        for (int i = 0; i < batch; i++) {
            mean[t] += (double)j->terms[t][i] / batch;
            j->seeds[t][i] = (float)(j->weight[t] / batch);
        }
        loss += j->weight[t] * mean[t];
    }
    at_metrics_add(metrics, "loss", loss);
    // Of pictures in -1 .. 1: the peak is 2.
    at_metrics_add(metrics, "psnr", 10 * log10(4 / mean[1]));
    at_metrics_add(metrics, "l1", mean[0]);
    at_metrics_add(metrics, "kl", mean[4]);
    return at_spread_backward(j->spread, in, (const void *const *)j->seeds);
}

// The denoiser wants latents of deviation 1: scaling_factor = 1 / deviation over samples of the posterior.
static bool measure_scale(struct vae_job *j, float *scale)
{
    int size = j->p->data.size, side = size / at_vae_factor(&j->m->vae);
    float *moments = at_calloc((size_t)j->p->train.batch * 2 * j->latent, sizeof(float));
    float *z = at_calloc(j->latent, sizeof(float));
    double sum = 0, squares = 0, n = 0;
    bool ok = (moments && z) || at_fail_memory(j->log, (size_t)j->p->train.batch * 2 * j->latent * sizeof(float));
    j->m->vae.scaling_factor = 1;
    // Files are the same at every draw: once through them is enough.
    uint64_t files = j->p->data.imagefolder ? (uint64_t)at_pictures_count(j->pictures) : 1024;
    uint64_t end = files < 1024 ? files : 1024;
    end = at_is_dry(j->m->dev) ? 1 : end;
    for (uint64_t first = 0; ok && first < end; first += (uint64_t)j->p->train.batch) {
        for (int i = 0; ok && i < j->p->train.batch; i++)
            ok = at_pictures_draw(j->pictures, first + (uint64_t)i, j->images + (size_t)i * j->pixels, NULL);
        ok = ok && at_model_encode(j->m, j->images, j->p->train.batch, size, size, moments);
        for (int i = 0; ok && i < j->p->train.batch; i++) {
            at_rng_normal(j->noise, j->latent, j->p->train.seed, AT_STREAM_LATENT, first + (uint64_t)i);
            at_model_latent(j->m, moments + (size_t)i * 2 * j->latent, j->noise, (int64_t)side * side, z);
            for (size_t k = 0; k < j->latent; k++) {
                sum += z[k];
                squares += (double)z[k] * z[k];
            }
            n += (double)j->latent;
        }
    }
    *scale = ok ? (float)(1 / sqrt(squares / n - sum / n * (sum / n))) : 0;
    if (ok && !at_is_dry(j->m->dev) && !(isfinite(*scale) && *scale > 0))
        ok = at_fail(j->log, AT_ERROR_FAILED, "the autoencoder's latents have no deviation to scale by; lower the "
                     "learning rate or look at the pictures");
    at_free(moments);
    at_free(z);
    return ok;
}

static bool save(void *priv, const char *dir, float *const *values)
{
    struct vae_job *j = priv;
    float scale;
    if (!dir)
        return measure_scale(j, &scale);
    float *current = at_calloc((size_t)j->m->vae_params->total, sizeof(float));
    bool ok = current && at_params_read(j->m->vae_params, current) && at_params_write(j->m->vae_params, values[0]) &&
              measure_scale(j, &scale) && at_params_write(j->m->vae_params, current);
    at_free(current);
    if (!ok)
        return false;
    j->m->vae.scaling_factor = scale;
    struct at_model_folder folder = {.vae = values[0], .parts = AT_PART_VAE, .dtype = AT_ST_F16};
    return at_model_folder_save(j->m, dir, &folder);
}

static bool open_job(struct vae_job *j, struct at_device *dev)
{
    const struct at_train_vae_params *p = j->p;
    if (p->train.batch < 1)
        return at_fail(j->log, AT_ERROR_USAGE, "batch %d: must be 1 or more pictures", p->train.batch);
    struct at_model_params mp = {.path = p->config, .parts = AT_PART_VAE, .trainable = AT_PART_VAE,
                                 .replicas = at_spread_replicas(dev, p->train.batch), .untrained = true,
                                 .seed = p->train.seed};
    if (!(j->m = at_model_open(dev, &mp, j->log)))
        return false;
    if (j->m->vae.tiny.stages)
        return at_fail(j->log, AT_ERROR_INPUT, "%s: the autoencoder is an AutoencoderTiny; it is distilled from a trained "
                       "one, and only AutoencoderKL is trained here", j->m->path);
    int factor = at_vae_factor(&j->m->vae), size = p->data.size;
    if (size < factor || size % factor)
        return at_fail(j->log, AT_ERROR_USAGE, "size %d: must be a multiple of %d", size, factor);
    j->pixels = (size_t)size * (size_t)size * 3;
    j->latent = (size_t)(size / factor) * (size_t)(size / factor) * (size_t)j->m->vae.latent_channels;
    bool memory = (j->images = at_calloc((size_t)p->train.batch * j->pixels, sizeof(float))) &&
                  (j->noise = at_calloc((size_t)p->train.batch * j->latent, sizeof(float)));
    for (int t = 0; t < TERMS && memory; t++)
        memory = (j->terms[t] = at_calloc((size_t)p->train.batch, sizeof(float))) &&
                 (j->seeds[t] = at_calloc((size_t)p->train.batch, sizeof(float)));
    if (!memory)
        return at_fail_memory(j->log, (size_t)p->train.batch * (j->pixels + j->latent) * sizeof(float));
    double gradient = p->gradient > 0 ? p->gradient : 0.5, kl = p->kl > 0 ? p->kl : 1e-5;
    memcpy(j->weight, (double[TERMS]){1, 1, gradient, gradient, kl}, sizeof(j->weight));
    struct at_spread_params sp = {.dev = dev, .items = p->train.batch, .build = build, .priv = j, .gradient = true,
                                  .recompute = at_fit_recompute(&p->train.fit)};
    return (j->pictures = at_pictures_open(&p->data, j->log)) && (j->spread = at_spread_create(&sp, j->log));
}

static bool run_job(struct at_device *dev, const void *params, struct at_log *log)
{
    struct vae_job j = {.p = params, .log = log};
    bool ok = open_job(&j, dev);
    if (ok) {
        struct at_train_method method = {.priv = &j, .name = "vae", .rate = "pictures_per_second",
                                         .sets = {j.m->vae_params}, .set_names = {"vae"}, .set_count = 1,
                                         .batch = run_batch, .save = save};
        ok = at_train(&method, &j.p->train, log);
    }
    at_spread_destroy(&j.spread);
    at_pictures_close(&j.pictures);
    at_model_destroy(&j.m);
    at_free(j.images);
    at_free(j.noise);
    for (int t = 0; t < TERMS; t++) {
        at_free(j.terms[t]);
        at_free(j.seeds[t]);
    }
    return ok || at_fail_unsaid(log);
}

bool at_train_vae(struct at_device *dev, const struct at_train_vae_params *params, struct at_log *log)
{
    struct at_train_vae_params p = *params;
    p.train.vae_tile = AT_TILE_NONE; // it is trained whole
    return at_train_fit(dev, &p.train, run_job, &p, log) && run_job(dev, &p, log);
}
