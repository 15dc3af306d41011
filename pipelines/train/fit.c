// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/fit.h"

#include <stdio.h>

#define MOST_SEGMENTS 256

struct search {
    const struct at_fit_params *p;
    size_t limit, least; // bytes; least: of all attempts
    size_t used[AT_USES]; // of that attempt
    bool stop;           // the job fails for another reason
    char why[512];       // the last attempt failed
};

static void keep_reason(void *priv, enum at_level level, const char *text)
{
    struct search *s = priv;
    if (level == AT_LEVEL_ERROR)
        snprintf(s->why, sizeof(s->why), "%s", text);
}

static bool fits(struct search *s, const struct at_fit *fit)
{
    struct at_log quiet = {.level = AT_LEVEL_ERROR, .write = keep_reason, .priv = s};
    struct at_device *dry = at_dry_open(s->p->dev, &quiet);
    bool ok = dry && s->p->attempt(s->p->priv, dry, fit, &quiet);
    s->stop = !ok && quiet.error != AT_ERROR_DEVICE;
    if (ok && dry->peak < s->least) {
        s->least = dry->peak;
        for (int i = 0; i < AT_USES; i++)
            s->used[i] = dry->peak_used[i];
    }
    ok = ok && s->p->dev->allocated + dry->peak <= s->limit;
    at_device_close(&dry);
    return ok;
}

// The fewest segments that fit, given that `most` do.
static void fewest_segments(struct search *s, struct at_fit *fit)
{
    int few = 0, most = MOST_SEGMENTS;
    while (most - few > 1 && !s->stop) {
        fit->segments = (few + most) / 2;
        if (fits(s, fit))
            most = fit->segments;
        else
            few = fit->segments;
    }
    fit->segments = most;
}

static double mib(size_t bytes)
{
    return (double)bytes / (1 << 20);
}

static bool too_large(const struct search *s, struct at_log *log)
{
    if (s->least == SIZE_MAX)
        return at_fail(log, AT_ERROR_DEVICE, "%s", s->why);
    return at_fail(log, AT_ERROR_DEVICE, "%.1f MiB are needed at least (weights %.1f, gradients %.1f, optimiser %.1f, "
                   "activations %.1f), but the limit is %.1f MiB; raise --memory-limit, use smaller pictures (--size), "
                   "a smaller --rank%s, or no --full%s", mib(s->least), mib(s->used[AT_USE_WEIGHTS]),
                   mib(s->used[AT_USE_GRADIENTS]), mib(s->used[AT_USE_OPTIMIZER]), mib(s->used[AT_USE_TENSORS]),
                   mib(s->limit), at_device_offload_knob(s->p->dev),
                   s->p->tilings == 1 ? ", or allow --vae-tile auto" : "");
}

// The fewest parts with which it fits, nothing computed again. False: none, or the job fails.
static bool fewest_parts(struct search *s, struct at_fit *fit)
{
    for (fit->parts = 1; fit->parts <= s->p->batch; fit->parts++)
        if (s->p->batch % fit->parts == 0 && (fits(s, fit) || s->stop))
            return !s->stop;
    return false;
}

// The lowest level of tiles at which it fits when nothing else is left to save.
static bool lowest_tiling(struct search *s, struct at_fit *fit)
{
    *fit = (struct at_fit){.parts = s->p->batch, .segments = MOST_SEGMENTS};
    do {
        if (fits(s, fit) || s->stop)
            return !s->stop;
    } while (++fit->tiling < s->p->tilings);
    return false;
}

bool at_fit_choose(const struct at_fit_params *p, struct at_fit *fit, struct at_log *log)
{
    struct search s = {.p = p, .limit = p->limit ? p->limit : p->dev->memory, .least = SIZE_MAX};
    *fit = (struct at_fit){.parts = 1};
    if (!s.limit || fewest_parts(&s, fit))
        ;
    else if (!s.stop && lowest_tiling(&s, fit)) {
        struct at_fit cut = {.tiling = fit->tiling};
        if (fit->tiling && fewest_parts(&s, &cut))
            *fit = cut;
        else if (!s.stop)
            fewest_segments(&s, fit);
    } else if (!s.stop)
        return too_large(&s, log);
    if (s.stop)
        *fit = (struct at_fit){.parts = 1};
    if (fit->parts > 1 || fit->segments || fit->tiling)
        at_info(log, "to fit %.1f MiB: %d of %d in a batch at once%s%s", mib(s.limit), p->batch / fit->parts, p->batch,
                fit->segments ? ", and blocks of the network computed again" : "",
                fit->tiling > 1 ? ", and pictures encoded in tiles" : "");
    return true;
}

struct at_recompute at_fit_recompute(const struct at_fit *fit)
{
    return (struct at_recompute){.cheap = true, .segments = fit->segments};
}
