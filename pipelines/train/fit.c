// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/fit.h"

#include <stdio.h>

#define MOST_SEGMENTS 256

struct search {
    const struct at_fit_params *p;
    size_t limit, least; // bytes; least: of all attempts
    size_t used[AT_USES]; // of that attempt
    double flops;         // of the last attempt
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
    s->flops = ok ? at_dry_flops(dry) : 0;
    ok = ok && s->p->dev->allocated + dry->peak <= s->limit;
    at_device_close(&dry);
    return ok;
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
                   mib(s->limit), at_device_memory_knobs(s->p->dev),
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
static bool lowest_tiling(struct search *s, int *tiling)
{
    struct at_fit fit = {.parts = s->p->batch, .apart = s->p->pairs, .segments = MOST_SEGMENTS};
    do {
        *tiling = fit.tiling;
        if (fits(s, &fit) || s->stop)
            return !s->stop;
    } while (++fit.tiling < s->p->tilings);
    return false;
}

// The fewest segments with which it fits, 0 among them, and what that costs. False: none.
static bool fewest_segments(struct search *s, struct at_fit *fit, double *flops)
{
    int few = 0, most = MOST_SEGMENTS;
    fit->segments = 0;
    bool ok = fits(s, fit);
    *flops = s->flops;
    if (ok)
        return true;
    fit->segments = most;
    if (!fits(s, fit))
        return false;
    *flops = s->flops;
    while (most - few > 1 && !s->stop) {
        fit->segments = (few + most) / 2;
        if (fits(s, fit)) {
            most = fit->segments;
            *flops = s->flops;
        } else
            few = fit->segments;
    }
    fit->segments = most;
    return true;
}

// One sample at a time: of what fits, the way that computes the least again.
static bool cheapest_recompute(struct search *s, struct at_fit *fit)
{
    bool found = false;
    double least = 0;
    for (int apart = 0; apart <= (s->p->pairs ? 1 : 0) && !s->stop; apart++) {
        struct at_fit way = {.parts = s->p->batch, .apart = apart, .tiling = fit->tiling};
        double flops;
        if (fewest_segments(s, &way, &flops) && (!found || flops < least)) {
            *fit = way;
            least = flops;
            found = true;
        }
    }
    return found && !s->stop;
}

static bool search(struct search *s, struct at_fit *fit)
{
    if (fewest_parts(s, fit))
        return true;
    if (s->stop || !lowest_tiling(s, &fit->tiling))
        return false;
    return (fit->tiling && fewest_parts(s, fit)) || (!s->stop && cheapest_recompute(s, fit));
}

static void say(const struct search *s, const struct at_fit *fit, struct at_log *log)
{
    if (fit->parts <= 1 && !fit->apart && !fit->segments && !fit->tiling)
        return;
    at_info(log, "to fit %.1f MiB: %d of %d in a batch at once%s%s%s", mib(s->limit), s->p->batch / fit->parts,
            s->p->batch, fit->apart ? ", the two pictures of a pair one after the other" : "",
            fit->segments ? ", blocks of the network computed again" : "",
            fit->tiling > 1 ? ", pictures encoded in tiles" : "");
}

bool at_fit_choose(const struct at_fit_params *p, struct at_fit *fit, struct at_log *log)
{
    struct search s = {.p = p, .limit = p->limit ? p->limit : p->dev->memory, .least = SIZE_MAX};
    *fit = (struct at_fit){.parts = 1};
    if (s.limit && !search(&s, fit)) {
        if (!s.stop)
            return too_large(&s, log);
        *fit = (struct at_fit){.parts = 1};
    }
    say(&s, fit, log);
    return true;
}

struct at_recompute at_fit_recompute(const struct at_fit *fit)
{
    return (struct at_recompute){.cheap = true, .segments = fit->segments};
}
