// SPDX-License-Identifier: Apache-2.0
#include "pipelines/sample/invert.h"

#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/diffusion/fixed_point.h"
#include "core/diffusion/likeness.h"
#include "core/graph/dry.h"
#include "pipelines/model/stages.h"
#include "pipelines/sample/walk.h"

#include <math.h>
#include <string.h>

void at_inverted_finish(struct at_inverted *o)
{
    at_free(o->latents);
    at_free(o->noise);
    at_free(o->decoded);
    at_free(o->drawn);
    at_free(o->trip);
    *o = (struct at_inverted){0};
}

// The way up, for at_sample.
struct climb {
    struct at_model *m;
    const struct at_invert_params *p;
    struct at_round_trip *trip;  // of all pictures
    struct at_fixed_point *seek; // one a picture of the batch
    bool *done;
};

// Rounds at timestep t until every picture of the batch is done. A picture that is stays as it is, so that a batch's
// pictures do not hang on each other.
static bool refine(struct climb *c, struct at_walk *walk, int t)
{
    struct at_ddim step;
    if (!at_ddim_step(c->m->schedule, &(struct at_ddim_params){.t = t, .steps = walk->steps}, &step, walk->log))
        return false;
    memset(c->done, 0, (size_t)walk->count * sizeof(*c->done));
    int open = walk->count;
    for (int round = 0; open && round < c->p->rounds; round++) {
        if (!walk->predict(walk, t) || !walk->tick(walk, 1.0 / (1 + c->p->rounds)))
            return false;
        for (int i = 0; i < walk->count; i++) {
            size_t at = (size_t)i * walk->latent;
            if (!c->done[i] && !at_fixed_point_update(&c->seek[i], &step, walk->x + at, walk->y + at)) {
                c->done[i] = true;
                open--;
            }
        }
    }
    for (int i = 0; i < walk->count; i++) {
        const struct at_fixed_point *f = &c->seek[i];
        struct at_round_trip *trip = &c->trip[walk->first + i];
        trip->residual_before = fmax(trip->residual_before, f->first);
        trip->residual = fmax(trip->residual, f->least);
        trip->rounds += (double)f->rounds / walk->steps;
    }
    return true;
}

static bool climb_step(struct climb *c, struct at_walk *walk, int t)
{
    struct at_ddim up;
    struct at_ddim_params p = {.t = t, .steps = walk->steps};
    if (!at_ddim_inverse_step(c->m->schedule, &p, &up, walk->log) || !walk->predict(walk, t))
        return false;
    for (int i = 0; i < walk->count; i++) {
        float *x = walk->x + (size_t)i * walk->latent;
        if (c->p->rounds)
            at_fixed_point_begin(&c->seek[i], x);
        at_ddim_apply(&up, x, walk->y + (size_t)i * walk->latent, NULL, NULL, walk->latent);
    }
    return walk->tick(walk, 1.0 / (1 + c->p->rounds)) && (!c->p->rounds || refine(c, walk, t));
}

// One run of the denoiser on the pictures under noise that is known tells what it predicts: a wrong prediction type inverts
// without a word, and badly.
static bool doubt_prediction(struct climb *c, struct at_walk *walk)
{
    const struct at_schedule *s = c->m->schedule;
    size_t n = (size_t)walk->count * walk->latent;
    int t = at_schedule_middle(s);
    float *x0 = at_calloc(n, sizeof(float)), *noise = at_calloc(n, sizeof(float));
    struct at_likeness like = {0};
    bool ok = (x0 && noise) || at_fail_memory(walk->log, n * sizeof(float));
    if (ok) {
        memcpy(x0, walk->x, n * sizeof(float));
        at_rng_normal(noise, n, 1, AT_STREAM_NOISE, 0);
        at_diffuse(s, t, x0, noise, walk->x, n);
        ok = walk->predict(walk, t);
        at_likeness_measure(s, t, x0, noise, walk->y, n, &like);
        memcpy(walk->x, x0, n * sizeof(float));
    }
    if (ok && like.doubtful)
        at_warn(walk->log, "the denoiser seems to predict %s, not %s as the model says: if the picture comes back wrong, try "
                "--prediction %s", at_prediction_names[like.best], at_prediction_names[s->config.prediction],
                at_prediction_names[like.best]);
    at_free(x0);
    at_free(noise);
    return ok;
}

static bool climb(void *leader, struct at_walk *walk)
{
    struct climb *c = leader;
    struct at_log *log = walk->log;
    size_t n = (size_t)walk->count;
    int *t = at_calloc((size_t)walk->steps, sizeof(*t));
    c->seek = at_calloc(n, sizeof(*c->seek));
    c->done = at_calloc(n, sizeof(*c->done));
    memset(&c->trip[walk->first], 0, n * sizeof(*c->trip));
    bool ok = (t && c->seek && c->done) || at_fail_memory(log, n * sizeof(*c->seek));
    for (int i = 0; ok && c->p->rounds && i < walk->count; i++)
        ok = at_fixed_point_init(&c->seek[i], walk->latent, c->p->tolerance, log);
    ok = ok && at_schedule_inverse_timesteps(c->m->schedule, walk->steps, t, log) == walk->steps;
    ok = ok && (walk->first || doubt_prediction(c, walk));
    for (int i = 0; ok && i < walk->steps; i++)
        ok = climb_step(c, walk, t[i]);
    for (size_t i = 0; c->seek && i < n; i++)
        at_fixed_point_finish(&c->seek[i]);
    at_free(c->seek);
    at_free(c->done);
    at_free(t);
    return ok;
}

static size_t values(const struct at_inverted *o)
{
    return (size_t)o->h * (size_t)o->w * (size_t)o->channels;
}

static size_t pixels(const struct at_inverted *o)
{
    return (size_t)o->width * (size_t)o->height * 3;
}

static void to_unit(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = fminf(fmaxf(x[i] * 0.5f + 0.5f, 0), 1);
}

// The pictures to latents and, as the bound of what can come back, to pictures again; one after the other.
static bool through_autoencoder(struct at_model *m, const struct at_invert_params *p, struct at_inverted *o)
{
    size_t area = (size_t)o->h * (size_t)o->w;
    float *input = at_calloc(pixels(o), sizeof(float)), *moments = at_calloc(2 * values(o), sizeof(float));
    bool ok = (input && moments) || at_fail_memory(m->log, (pixels(o) + values(o)) * sizeof(float));
    for (int i = 0; ok && i < o->count; i++) {
        const float *from = p->pixels + (size_t)i * pixels(o);
        float *latent = o->latents + (size_t)i * values(o), *to = o->decoded + (size_t)i * pixels(o);
        for (size_t k = 0; k < pixels(o); k++)
            input[k] = 2 * from[k] - 1;
        ok = at_model_encode(m, input, 1, o->height, o->width, moments);
        if (ok)
            at_model_latent(m, moments, NULL, (int64_t)area, latent);
        ok = ok && at_model_decode(m, latent, 1, o->h, o->w, to);
        to_unit(to, pixels(o));
    }
    at_free(input);
    at_free(moments);
    return ok;
}

// What one picture's way through the autoencoder takes on the device beside what is allocated there; 0 if it cannot be.
static size_t autoencoder_bytes(const struct at_model *m, const struct at_invert_params *p, const struct at_inverted *o)
{
    struct at_log quiet = {.level = AT_LEVEL_ERROR, .write = at_log_drop};
    struct at_inverted one = *o;
    struct at_model copy;
    size_t bytes = 0;
    one.count = 1;
    if (at_model_try(m, &quiet, &copy) && through_autoencoder(&copy, p, &one))
        bytes = copy.dev->peak;
    at_model_try_end(m, &copy);
    return bytes;
}

// Chooses the autoencoder's tiles so that it stays within the limit. (at_sample sees to the rest.)
static bool fit_autoencoder(struct at_model *m, const struct at_invert_params *p, const struct at_inverted *o)
{
    size_t limit = p->sample.memory_limit ? p->sample.memory_limit : m->dev->memory, least = SIZE_MAX;
    int setting = p->sample.vae_tile, before = -1;
    m->vae_tile = at_tile_side(&m->vae, o->height, o->width, setting, 0);
    for (int level = 0; limit && level < AT_TILE_LEVELS; level++, before = m->vae_tile) {
        m->vae_tile = at_tile_side(&m->vae, o->height, o->width, setting, level);
        size_t bytes = m->vae_tile == before && level > 1 ? 0 : autoencoder_bytes(m, p, o);
        if (bytes && m->dev->allocated + bytes <= limit)
            return true;
        least = bytes && bytes < least ? bytes : least;
        if (level == 0 && !m->dev->offload)
            at_model_rest(m, AT_PART_TEXT); // it has nothing to do yet
    }
    return least == SIZE_MAX || // no limit, or it fails for another reason, which the real run says
           at_fail(m->log, AT_ERROR_DEVICE, "the autoencoder needs %.1f MiB for one picture, %.1f of them for weights, but "
                   "the limit is %.1f MiB; raise --memory-limit, or lower --size%s",
                   (double)(m->dev->allocated + least) / (1 << 20), (double)m->dev->allocated / (1 << 20),
                   (double)limit / (1 << 20), setting == AT_TILE_AUTO ? "" : ", or allow --vae-tile auto");
}

static double relative_error(const float *x, const float *want, size_t n)
{
    double miss = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        miss += ((double)x[i] - (double)want[i]) * ((double)x[i] - (double)want[i]);
        size += (double)want[i] * (double)want[i];
    }
    return sqrt(miss / size);
}

// In decibels; the largest value is 1.
static double psnr(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return -10 * log10(sum / (double)n);
}

static void measure(const struct at_invert_params *p, const float *back, struct at_inverted *o)
{
    for (int i = 0; i < o->count; i++) {
        size_t latent = (size_t)i * values(o), picture = (size_t)i * pixels(o);
        struct at_round_trip *trip = &o->trip[i];
        trip->latent_error = relative_error(back + latent, o->latents + latent, values(o));
        trip->psnr = psnr(o->drawn + picture, p->pixels + picture, pixels(o));
        trip->psnr_of_autoencoder = psnr(o->drawn + picture, o->decoded + picture, pixels(o));
        trip->psnr_bound = psnr(o->decoded + picture, p->pixels + picture, pixels(o));
    }
}

// Progress of both ways together.
struct share {
    const struct at_sample_params *p;
    double from, part;
};

static bool forward_progress(void *priv, double done)
{
    const struct share *s = priv;
    return !s->p->progress || s->p->progress(s->p->priv, s->from + done * s->part);
}

static bool both_ways(struct at_model *m, const struct at_invert_params *p, struct at_inverted *o, float *back)
{
    struct climb c = {.m = m, .p = p, .trip = o->trip};
    double up = (1.0 + p->rounds) / (2.0 + p->rounds);
    struct share share = {&p->sample, 0, up};
    struct at_sample_params s = p->sample;
    s.sampler = AT_SAMPLER_DDIM;
    s.karras = false;
    s.eta = 0;
    s.progress = forward_progress;
    s.priv = &share;
    s.init = o->latents;
    s.lead = climb;
    s.leader = &c;
    if (!at_sample(m, &s, NULL, o->noise))
        return false;
    for (size_t i = 0; i < (size_t)o->count * values(o); i++)
        if (!isfinite(o->noise[i]))
            return at_fail(m->log, AT_ERROR_FAILED, "the noise of picture %zu is not finite: the weights or an adapter are "
                           "out of range; try --cfg 1 or a smaller strength", i / values(o) + 1);
    share = (struct share){&p->sample, up, 1 - up};
    s.init = o->noise;
    s.lead = NULL;
    return at_sample(m, &s, o->drawn, back);
}

static bool check_params(struct at_model *m, const struct at_invert_params *p)
{
    if (p->rounds < 0 || !(p->tolerance >= 0))
        return at_fail(m->log, AT_ERROR_USAGE, "%d rounds to a tolerance of %g: neither can be negative", p->rounds,
                       p->tolerance);
    if (!at_tile_check(&m->vae, p->sample.vae_tile, m->log))
        return false;
    if (p->sample.cfg != 1)
        at_warn(m->log, "guidance %g: what it adds at one timestep it does not take away at the next, so the picture comes "
                "back changed; --cfg 1 inverts best, and --fixed-point helps", p->sample.cfg);
    if (m->schedule->config.clip_sample)
        at_warn(m->log, "the model's schedule clips its predictions (clip_sample), which loses what lies beyond; the picture "
                "may come back changed");
    return true;
}

bool at_invert(struct at_model *m, const struct at_invert_params *p, struct at_inverted *out)
{
    int factor = at_vae_factor(&m->vae);
    *out = (struct at_inverted){.count = p->sample.count, .channels = m->unet.in_channels};
    if (!check_params(m, p) || !at_sample_size(m, &p->sample, &out->width, &out->height))
        return false;
    out->h = out->height / factor;
    out->w = out->width / factor;
    size_t n = (size_t)out->count;
    out->latents = at_calloc(n * values(out), sizeof(float));
    out->noise = at_calloc(n * values(out), sizeof(float));
    out->decoded = at_calloc(n * pixels(out), sizeof(float));
    out->drawn = at_calloc(n * pixels(out), sizeof(float));
    out->trip = at_calloc(n, sizeof(*out->trip));
    float *back = at_calloc(n * values(out), sizeof(float));
    bool ok = (out->latents && out->noise && out->decoded && out->drawn && out->trip && back) ||
              at_fail_memory(m->log, n * (2 * pixels(out) + 3 * values(out)) * sizeof(float));
    ok = ok && fit_autoencoder(m, p, out) && through_autoencoder(m, p, out) && both_ways(m, p, out, back);
    if (ok)
        measure(p, back, out);
    else
        at_inverted_finish(out);
    at_free(back);
    return ok || at_fail_unsaid(m->log);
}
