// SPDX-License-Identifier: Apache-2.0
#include "core/graph/dry.h"

#include "core/base/alloc.h"
#include "core/ops/op.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct dry {
    struct at_device dev;
    const struct at_device *like;
    atomic_ullong flops; // runs on several threads add to it
    bool counts_host;
};

struct at_buffer {
    size_t assumed; // of the host
};

struct at_run {
    uint64_t flops[AT_PHASES];
};

static const char kind[] = "dry";

static void close_device(struct at_device *dev)
{
    const struct dry *d = (const struct dry *)dev;
    at_alloc_assume_end(d->counts_host ? d->like->staging : 0);
    at_free(dev);
}

static struct at_buffer *create(struct at_device *dev, size_t bytes, bool host)
{
    if (dev->max_chunk && bytes > dev->max_chunk) {
        at_fail(dev->log, AT_ERROR_DEVICE, "%.1f MiB are needed in one piece, but the device allocates at most %.1f MiB",
                (double)bytes / (1 << 20), (double)dev->max_chunk / (1 << 20));
        return NULL;
    }
    struct at_buffer *b = at_calloc(1, sizeof(*b));
    if (!b) {
        at_fail_memory(dev->log, sizeof(*b));
        return NULL;
    }
    b->assumed = host && ((const struct dry *)dev)->counts_host ? bytes : 0;
    at_alloc_assume(b->assumed);
    return b;
}

static struct at_buffer *buffer_create(struct at_device *dev, size_t bytes)
{
    return create(dev, bytes, !dev->own_memory);
}

static struct at_buffer *host_create(struct at_device *dev, size_t bytes)
{
    return create(dev, bytes, true);
}

static void buffer_destroy(struct at_device *dev, struct at_buffer *b)
{
    (void)dev;
    at_alloc_assume_end(b->assumed);
    at_free(b);
}

static bool write_buffer(struct at_device *dev, struct at_buffer *b, size_t offset, const void *data, int64_t n,
                         enum at_dtype dtype)
{
    (void)dev, (void)b, (void)offset, (void)data, (void)n, (void)dtype;
    return true;
}

static bool read_buffer(struct at_device *dev, struct at_buffer *b, size_t offset, void *data, int64_t n,
                        enum at_dtype dtype)
{
    (void)dev, (void)b, (void)offset;
    memset(data, 0, (size_t)n * at_dtype_size(dtype, sizeof(float)));
    return true;
}

static size_t scratch(const void *priv, const struct at_node *node)
{
    const struct dry *d = priv;
    return d->like->api->scratch ? d->like->api->scratch(d->like, node) : 0;
}

static struct at_run *compile(struct at_device *dev, const struct at_plan *plan, struct at_buffer *const *arena)
{
    (void)arena;
    struct at_run *run = at_calloc(1, sizeof(*run));
    if (!run)
        at_fail_memory(dev->log, sizeof(*run));
    for (int p = 0, s = 0; run && p < AT_PHASES; p++)
        for (; s < plan->phase_end[p]; s++)
            run->flops[p] += (uint64_t)plan->steps[s].node->op->cost(plan->steps[s].node).flops;
    return run;
}

static bool run_phase(struct at_device *dev, struct at_run *run, int phase)
{
    atomic_fetch_add(&((struct dry *)dev)->flops, run->flops[phase]);
    return true;
}

static void release_run(struct at_device *dev, struct at_run *run)
{
    (void)dev;
    at_free(run);
}

static const struct at_device_api api = {
    .close = close_device,
    .buffer_create = buffer_create,
    .host_create = host_create,
    .buffer_destroy = buffer_destroy,
    .write = write_buffer,
    .read = read_buffer,
    .scratch = scratch,
    .compile = compile,
    .run = run_phase,
    .release = release_run,
};

struct at_device *at_dry_open(const struct at_device *like, struct at_log *log)
{
    struct dry *d = at_calloc(1, sizeof(*d));
    if (!d) {
        at_fail_memory(log, sizeof(*d));
        return NULL;
    }
    d->like = like;
    d->dev = (struct at_device){.api = &api,
                                .log = log,
                                .kind = kind,
                                .real_size = like->real_size,
                                .max_chunk = like->max_chunk,
                                .memory = like->memory,
                                .weights = like->weights,
                                .workers = like->workers,
                                .own_memory = like->own_memory,
                                .offload = like->offload,
                                .activations = like->activations};
    memcpy(d->dev.name, like->name, sizeof(d->dev.name));
    return &d->dev;
}

bool at_is_dry(const struct at_device *dev)
{
    return dev && dev->kind == kind;
}

void at_dry_count_host(struct at_device *dev)
{
    struct dry *d = (struct dry *)dev;
    d->counts_host = true;
    at_alloc_assume(d->like->staging);
}

double at_dry_flops(const struct at_device *dev)
{
    return (double)atomic_load(&((const struct dry *)dev)->flops);
}
