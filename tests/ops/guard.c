// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/guard.h"

#include "core/base/alloc.h"
#include "core/base/half.h"
#include "core/ops/op.h"

#include <stdio.h>
#include <string.h>

static const uint32_t sentinel = 0x7fc5a5a5; // a quiet NaN

static float sentinel_float(void)
{
    float f;
    memcpy(&f, &sentinel, sizeof(f));
    return f;
}

static bool is_sentinel(const float *f)
{
    return memcmp(f, &sentinel, sizeof(*f)) == 0;
}

static size_t node_bytes(const struct at_plan *plan, const struct at_node *n)
{
    return (size_t)at_shape_count(n->shape) * at_dtype_size(n->dtype, plan->real_size);
}

// The input whose memory a node shares, or NULL.
static const struct at_node *host_of(const struct at_node *n)
{
    if (n->op && n->op->alias)
        return n->in[0];
    return n->update >= 0 ? n->in[n->update] : NULL;
}

// Takes `bytes` between two guards; returns their offset.
static size_t reserve(size_t *used, size_t bytes, size_t guard)
{
    size_t at = *used + guard;
    *used = (at + bytes + guard + AT_PLAN_ALIGN - 1) / AT_PLAN_ALIGN * AT_PLAN_ALIGN;
    return at;
}

// Gives every tensor of the plan a place of its own in chunk 0. Returns the bytes of the chunk; 0: out of memory.
static size_t spread(struct at_plan *plan)
{
    int count = at_graph_count(plan->graph);
    struct at_place *old = at_calloc((size_t)count, sizeof(*old));
    if (!old)
        return 0;
    memcpy(old, plan->place, (size_t)count * sizeof(*old));
    size_t guard = (OPS_GUARD * plan->real_size + AT_PLAN_ALIGN - 1) / AT_PLAN_ALIGN * AT_PLAN_ALIGN, used = 0;
    for (int id = 0; id < count; id++) {
        const struct at_node *n = at_graph_node(plan->graph, id), *host = host_of(n);
        if (!plan->live[id] || old[id].store)
            continue;
        size_t at = host ? plan->place[host->id].offset + (old[id].offset - old[host->id].offset)
                         : reserve(&used, node_bytes(plan, n), guard);
        plan->place[id] = (struct at_place){.offset = at};
    }
    for (int i = 0; i < plan->count; i++)
        if (plan->steps[i].scratch_bytes)
            plan->steps[i].scratch = (struct at_place){.offset = reserve(&used, plan->steps[i].scratch_bytes, guard)};
    at_free(old);
    return used;
}

static bool poison(struct at_device *dev, struct at_buffer *b, size_t reals)
{
    float *f = at_calloc(reals, sizeof(*f));
    if (!f)
        return false;
    for (size_t i = 0; i < reals; i++)
        f[i] = sentinel_float();
    bool ok = dev->api->write(dev, b, 0, f, (int64_t)reals, AT_F32);
    at_free(f);
    return ok;
}

struct at_exec *ops_guard_exec(struct at_device *dev, struct at_graph *g, struct at_log *log)
{
    struct at_exec *e = at_calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->dev = dev;
    struct at_plan_params params = {.real_size = dev->real_size,
                                    .max_chunk = dev->max_chunk,
                                    .scratch = dev->api->scratch,
                                    .priv = dev,
                                    .no_inplace = true};
    e->plan = at_plan_create(g, &params);
    e->arena = at_calloc(1, sizeof(struct at_buffer *));
    if (!e->plan || !e->arena)
        goto error;
    if (e->plan->chunks > 0) {
        size_t bytes = spread(e->plan);
        e->plan->chunks = 1;
        e->plan->chunk_bytes[0] = e->plan->arena_bytes = bytes;
        e->arena[0] = bytes ? dev->api->buffer_create(dev, bytes) : NULL;
        if (!e->arena[0])
            goto error;
        dev->allocated += bytes, dev->used[AT_USE_TENSORS] += bytes; // at_exec_destroy takes it back
        if (!poison(dev, e->arena[0], bytes / dev->real_size))
            goto error;
    }
    e->run = dev->api->compile(dev, e->plan, e->arena);
    if (e->run)
        return e;
error:
    at_fail(log, AT_ERROR_FAILED, "no guarded memory for the test");
    at_exec_destroy(&e);
    return NULL;
}

static void mark(unsigned char *owned, size_t offset, size_t bytes)
{
    for (size_t i = offset / sizeof(float); i < (offset + bytes + sizeof(float) - 1) / sizeof(float); i++)
        owned[i] = 1;
}

static void mark_areas(const struct at_plan *plan, unsigned char *owned)
{
    for (int id = 0; id < at_graph_count(plan->graph); id++)
        if (plan->live[id] && !plan->place[id].store)
            mark(owned, plan->place[id].offset, node_bytes(plan, at_graph_node(plan->graph, id)));
    for (int i = 0; i < plan->count; i++)
        if (plan->steps[i].scratch_bytes)
            mark(owned, plan->steps[i].scratch.offset, plan->steps[i].scratch_bytes);
}

bool ops_guard_intact(const struct at_exec *exec, char *why, size_t size)
{
    const struct at_plan *plan = exec->plan;
    if (plan->real_size != sizeof(float) || !plan->chunks)
        return true;
    size_t n = plan->chunk_bytes[0] / sizeof(float);
    unsigned char *owned = at_calloc(n, 1);
    float *f = at_calloc(n, sizeof(*f));
    bool ok = owned && f && exec->dev->api->read(exec->dev, exec->arena[0], 0, f, (int64_t)n, AT_F32);
    if (!ok)
        snprintf(why, size, "the guards cannot be read");
    else
        mark_areas(plan, owned);
    for (size_t i = 0; ok && i < n; i++)
        if (!owned[i] && !is_sentinel(&f[i])) {
            snprintf(why, size, "word %zu of the memory, which belongs to no tensor, was overwritten with %g", i,
                     (double)f[i]);
            ok = false;
        }
    at_free(owned);
    at_free(f);
    return ok;
}

bool ops_guard_equal(const struct at_exec *exec, const struct at_node *n, const double *x, char *why, size_t size)
{
    const struct at_place *p = &exec->plan->place[n->id];
    int64_t count = at_shape_count(n->shape);
    float *f = at_calloc((size_t)count, sizeof(*f));
    bool ok = f && exec->dev->api->read(exec->dev, exec->arena[p->chunk], p->offset, f, count, n->dtype);
    if (!ok)
        snprintf(why, size, "an input cannot be read");
    for (int64_t j = count; ok && at_dtype_half(n->dtype) && j-- > 0;) {
        uint16_t h;
        memcpy(&h, (const char *)f + 2 * j, sizeof(h));
        f[j] = n->dtype == AT_F16 ? at_f32_from_f16(h) : at_f32_from_bf16(h);
    }
    for (int64_t j = 0; ok && j < count; j++)
        if (!((double)f[j] == x[j])) {
            snprintf(why, size, "element %lld of input %d was overwritten: %g, was %g", (long long)j, n->id,
                     (double)f[j], x[j]);
            ok = false;
        }
    at_free(f);
    return ok;
}

struct at_store *ops_guard_store(struct at_device *dev, int64_t n, struct at_log *log)
{
    struct at_store *s = at_store_create(dev, n + 2 * OPS_GUARD, AT_USE_WEIGHTS, log);
    if (s && !poison(dev, s->buffer, (size_t)s->count))
        at_store_destroy(&s);
    return s;
}

bool ops_guard_store_intact(const struct at_store *store, char *why, size_t size)
{
    float before[OPS_GUARD], behind[OPS_GUARD];
    if (!at_store_read(store, 0, before, OPS_GUARD) ||
        !at_store_read(store, store->count - OPS_GUARD, behind, OPS_GUARD)) {
        snprintf(why, size, "the guards of the store cannot be read");
        return false;
    }
    for (int i = 0; i < OPS_GUARD; i++)
        if (!is_sentinel(&before[i]) || !is_sentinel(&behind[i])) {
            snprintf(why, size, "memory %s the updated tensor was overwritten",
                     is_sentinel(&before[i]) ? "behind" : "before");
            return false;
        }
    return true;
}
