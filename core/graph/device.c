// SPDX-License-Identifier: Apache-2.0
#include "core/graph/device.h"

#include "core/base/alloc.h"
#include "core/base/half.h"
#include "core/graph/fuse.h"
#include "core/graph/halve.h"

#include <string.h>

#define PIECE 8192 // halves that are converted at a time

void at_device_close(struct at_device **dev)
{
    if (*dev)
        (*dev)->api->close(*dev);
    *dev = NULL;
}

const char *at_device_memory_knobs(const struct at_device *dev)
{
    static const char *const knobs[] = {"", ", --offload", ", --activations f16", ", --offload, --activations f16"};
    return dev->own_memory ? knobs[(dev->offload ? 0 : 1) + (dev->activations == AT_F16 ? 0 : 2)] : "";
}

static void count_host(struct at_device *dev, size_t bytes)
{
    size_t *peak = &dev->peak_used[AT_USE_HOST];
    dev->used[AT_USE_HOST] += bytes;
    *peak = dev->used[AT_USE_HOST] > *peak ? dev->used[AT_USE_HOST] : *peak;
}

static struct at_buffer *allocate(struct at_device *dev, size_t bytes, enum at_use use)
{
    bool host = use == AT_USE_HOST && dev->own_memory;
    struct at_buffer *b = host ? dev->api->host_create(dev, bytes) : dev->api->buffer_create(dev, bytes);
    if (b && use == AT_USE_HOST)
        count_host(dev, bytes);
    if (!b || use == AT_USE_HOST)
        return b;
    dev->allocated += bytes;
    dev->used[use] += bytes;
    if (dev->allocated > dev->peak) {
        dev->peak = dev->allocated;
        memcpy(dev->peak_used, dev->used, AT_USE_HOST * sizeof(dev->used[0]));
    }
    return b;
}

static void release(struct at_device *dev, struct at_buffer *b, size_t bytes, enum at_use use)
{
    if (!b)
        return;
    dev->api->buffer_destroy(dev, b);
    if (use != AT_USE_HOST)
        dev->allocated -= bytes;
    dev->used[use] -= bytes;
}

struct at_store *at_store_create(struct at_device *dev, int64_t count, enum at_use use, struct at_log *log)
{
    return at_store_create_typed(dev, count, AT_F32, use, log);
}

size_t at_store_bytes(const struct at_store *s)
{
    return (size_t)s->count * at_dtype_size(s->dtype, s->dev ? s->dev->real_size : 4);
}

struct at_store *at_store_create_typed(struct at_device *dev, int64_t count, enum at_dtype dtype, enum at_use use,
                                       struct at_log *log)
{
    struct at_store *s = at_calloc(1, sizeof(*s));
    if (!s) {
        at_fail_memory(log, sizeof(*s));
        return NULL;
    }
    *s = (struct at_store){.dev = dev, .count = count, .dtype = dtype, .use = use};
    if (dev && !(s->buffer = allocate(dev, at_store_bytes(s), use)))
        at_store_destroy(&s);
    return s;
}

void at_store_destroy(struct at_store **store)
{
    if (!*store)
        return;
    if ((*store)->buffer)
        release((*store)->dev, (*store)->buffer, at_store_bytes(*store), (*store)->use);
    at_free(*store);
    *store = NULL;
}

bool at_store_write_bits(struct at_store *s, int64_t offset, const void *data, int64_t n)
{
    return s->dev->api->write(s->dev, s->buffer, (size_t)offset * sizeof(uint16_t), data, n, s->dtype);
}

bool at_store_write(struct at_store *s, int64_t offset, const float *data, int64_t n)
{
    if (!at_dtype_half(s->dtype))
        return s->dev->api->write(s->dev, s->buffer, (size_t)offset * s->dev->real_size, data, n, AT_F32);
    uint16_t bits[PIECE];
    bool ok = true;
    for (int64_t done = 0; ok && done < n; done += PIECE) {
        int64_t count = n - done < PIECE ? n - done : PIECE;
        for (int64_t i = 0; i < count; i++)
            bits[i] = s->dtype == AT_F16 ? at_f16_from_f32(data[done + i]) : at_bf16_from_f32(data[done + i]);
        ok = at_store_write_bits(s, offset + done, bits, count);
    }
    return ok;
}

bool at_store_read(const struct at_store *s, int64_t offset, float *data, int64_t n)
{
    if (!at_dtype_half(s->dtype))
        return s->dev->api->read(s->dev, s->buffer, (size_t)offset * s->dev->real_size, data, n, AT_F32);
    // The bits come to the end of `data`, ahead of the values that are made from them.
    uint16_t *bits = (uint16_t *)(void *)data + n;
    if (!s->dev->api->read(s->dev, s->buffer, (size_t)offset * sizeof(*bits), bits, n, s->dtype))
        return false;
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, bits + i, sizeof(h));
        float x = s->dtype == AT_F16 ? at_f32_from_f16(h) : at_f32_from_bf16(h);
        memcpy(data + i, &x, sizeof(x));
    }
    return true;
}

struct at_exec *at_exec_create(struct at_device *dev, struct at_graph *g)
{
    if (!at_graph_ok(g) || at_graph_fuse(g) < 0)
        return NULL;
    if (dev->activations == AT_F16 && at_graph_halve(g) < 0)
        return NULL;
    struct at_exec *e = at_calloc(1, sizeof(*e));
    if (!e) {
        at_fail_memory(dev->log, sizeof(*e));
        return NULL;
    }
    e->dev = dev;
    struct at_plan_params params = {
        .real_size = dev->real_size, .max_chunk = dev->max_chunk, .scratch = dev->api->scratch, .priv = dev};
    e->plan = at_plan_create(g, &params);
    if (!e->plan)
        goto error;
    e->arena = at_calloc((size_t)e->plan->chunks, sizeof(struct at_buffer *));
    if (!e->arena) {
        at_fail_memory(dev->log, sizeof(struct at_buffer *));
        goto error;
    }
    for (int c = 0; c < e->plan->chunks; c++)
        if (!(e->arena[c] = allocate(dev, e->plan->chunk_bytes[c], AT_USE_TENSORS)))
            goto error;
    if (!(e->run = dev->api->compile(dev, e->plan, e->arena)))
        goto error;
    return e;
error:
    at_exec_destroy(&e);
    return NULL;
}

void at_exec_destroy(struct at_exec **exec)
{
    struct at_exec *e = *exec;
    if (!e)
        return;
    if (e->run)
        e->dev->api->release(e->dev, e->run);
    for (int c = 0; e->arena && c < e->plan->chunks; c++)
        release(e->dev, e->arena[c], e->plan->chunk_bytes[c], AT_USE_TENSORS);
    at_free(e->arena);
    at_plan_destroy(&e->plan);
    at_free(e);
    *exec = NULL;
}

static struct at_buffer *buffer_of(const struct at_exec *e, const struct at_place *place)
{
    return place->store ? place->store->buffer : e->arena[place->chunk];
}

bool at_exec_write(struct at_exec *e, const struct at_node *node, const void *data)
{
    if (!e->plan->live[node->id])
        return true; // nothing reads it
    const struct at_place *p = &e->plan->place[node->id];
    return e->dev->api->write(e->dev, buffer_of(e, p), p->offset, data, at_shape_count(node->shape), node->dtype);
}

bool at_exec_read(const struct at_exec *e, const struct at_node *node, void *data)
{
    const struct at_place *p = &e->plan->place[node->id];
    return e->dev->api->read(e->dev, buffer_of(e, p), p->offset, data, at_shape_count(node->shape), node->dtype);
}

bool at_exec_run(struct at_exec *e, int phase)
{
    return e->dev->api->run(e->dev, e->run, phase);
}
