// SPDX-License-Identifier: Apache-2.0
#include "core/vulkan/executor.h"

#include "core/base/alloc.h"
#include "core/graph/guard.h"
#include "core/ops/op.h"
#include "core/vulkan/lower.h"
#include "core/vulkan/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PENDING 64 // accesses remembered between two barriers

struct vulkan {
    struct at_device dev;
    struct at_vk_device *vk;
};

struct at_buffer {
    struct at_vk_buffer *memory;
};

struct at_run {
    const struct at_plan *plan;
    struct at_vk_commands *phase[AT_PHASES]; // NULL: nothing to do
    int barriers[AT_PHASES];
    struct at_vk_buffer *first_bad; // of a guarded device: the first step that put out what is not finite; else NULL
};

struct not_finite_push {
    uint64_t x, first;
    uint32_t n, step;
};
static_assert(sizeof(struct not_finite_push) == 24, "shaders/not_finite.comp");

// Device memory [begin, end) that a step touches.
struct access {
    uint64_t begin, end;
    bool write;
};

// Records one phase: what was touched since the last barrier decides where the next one is needed.
struct recorder {
    struct at_vk_commands *commands;
    struct access pending[PENDING];
    int count, barriers;
};

static struct vulkan *vulkan_of(struct at_device *dev)
{
    return (struct vulkan *)dev;
}

static void close_device(struct at_device *dev)
{
    at_vk_device_close(&vulkan_of(dev)->vk);
    at_free(dev);
}

static void buffer_destroy(struct at_device *dev, struct at_buffer *b)
{
    (void)dev;
    at_vk_buffer_destroy(&b->memory);
    at_free(b);
}

static bool zero(struct at_vk_device *vk, struct at_vk_buffer *memory)
{
    struct at_vk_commands *c = at_vk_commands_begin(vk, NULL);
    bool ok = c && at_vk_fill(c, memory, 0, at_vk_buffer_size(memory), 0) && at_vk_commands_end(c) && at_vk_run(c);
    at_vk_commands_destroy(&c);
    return ok;
}

static struct at_buffer *create(struct at_device *dev, size_t bytes, bool host)
{
    struct at_vk_device *vk = vulkan_of(dev)->vk;
    struct at_buffer *b = at_calloc(1, sizeof(*b));
    if (!b) {
        at_fail_memory(dev->log, sizeof(*b));
        return NULL;
    }
    struct at_vk_buffer_params params = {.size = bytes ? (bytes + 3) / 4 * 4 : 4, .host = host,
                                         .name = host ? "offloaded weights" : "tensors"};
    b->memory = at_vk_buffer_create(vk, &params);
    if (b->memory && zero(vk, b->memory))
        return b;
    buffer_destroy(dev, b);
    return NULL;
}

static struct at_buffer *buffer_create(struct at_device *dev, size_t bytes)
{
    return create(dev, bytes, false);
}

static struct at_buffer *host_create(struct at_device *dev, size_t bytes)
{
    return create(dev, bytes, true);
}

static bool write_buffer(struct at_device *dev, struct at_buffer *b, size_t offset, const void *data, int64_t n,
                         enum at_dtype dtype)
{
    (void)dev;
    return at_vk_buffer_write(b->memory, offset, data, (size_t)n * at_dtype_size(dtype, 4));
}

static bool read_buffer(struct at_device *dev, struct at_buffer *b, size_t offset, void *data, int64_t n,
                        enum at_dtype dtype)
{
    (void)dev;
    return at_vk_buffer_read(b->memory, offset, data, (size_t)n * at_dtype_size(dtype, 4));
}

static size_t scratch(const void *priv, const struct at_node *node)
{
    (void)priv;
    return node->op->vulkan_scratch ? node->op->vulkan_scratch(node) : 0;
}

static uint64_t resolve(const struct at_place *p, struct at_buffer *const *arena)
{
    return at_vk_buffer_address((p->store ? p->store->buffer : arena[p->chunk])->memory) + p->offset;
}

static void barrier(struct recorder *r)
{
    at_vk_barrier(r->commands);
    r->barriers++;
    r->count = 0;
}

static void order(struct recorder *r, const struct access *step, int n)
{
    bool need = r->count + n > PENDING;
    for (int i = 0; i < n && !need; i++)
        for (int j = 0; j < r->count && !need; j++)
            need = (step[i].write || r->pending[j].write) && step[i].begin < r->pending[j].end &&
                   r->pending[j].begin < step[i].end;
    if (need)
        barrier(r);
}

static bool check_sizes(struct at_log *log, const struct at_node *n)
{
    char text[AT_SHAPE_TEXT];
    for (int i = -1; i < AT_ARITY; i++) {
        const struct at_node *t = i < 0 ? n : n->in[i];
        if (t && at_shape_count(t->shape) > INT32_MAX)
            return at_fail(log, AT_ERROR_DEVICE,
                           "%s: a tensor of %" PRId64 " elements, %s: Vulkan kernels index up to 2^31 - 1; use a "
                           "smaller batch or image size, or the CPU",
                           n->op->name, at_shape_count(t->shape), at_shape_text(t->shape, text));
    }
    return true;
}

static struct access access_of(uint64_t address, uint64_t bytes, bool write)
{
    return (struct access){.begin = address, .end = address + bytes, .write = write};
}

static uint64_t bytes_of(const struct at_node *n)
{
    return (uint64_t)at_shape_count(n->shape) * at_dtype_size(n->dtype, 4);
}

static bool lower_step(struct vulkan *v, struct recorder *r, const struct at_plan *plan, const struct at_step *step,
                       struct at_buffer *const *arena)
{
    const struct at_node *node = step->node;
    if (!node->op->vulkan)
        return at_fail(v->dev.log, AT_ERROR_FAILED, "op %s runs on the CPU only; use the CPU device", node->op->name);
    if (!check_sizes(v->dev.log, node))
        return false;
    const struct at_vk_info *info = at_vk_device_info(v->vk);
    struct at_lower l = {.node = node,
                         .info = info,
                         .cpu = info->kind == AT_VK_KIND_CPU,
                         .log = v->dev.log,
                         .dev = v->vk,
                         .commands = r->commands};
    struct access touched[AT_ARITY + 2];
    int n = 0;
    l.out = resolve(&plan->place[node->id], arena);
    touched[n++] = access_of(l.out, bytes_of(node), true);
    if (step->scratch_bytes) {
        l.scratch = resolve(&step->scratch, arena);
        touched[n++] = access_of(l.scratch, step->scratch_bytes, true);
    }
    for (int i = 0; i < AT_ARITY; i++)
        if (node->in[i]) {
            l.in[i] = resolve(&plan->place[node->in[i]->id], arena);
            touched[n++] = access_of(l.in[i], bytes_of(node->in[i]), false);
        }
    order(r, touched, n);
    if (!node->op->vulkan(&l))
        return at_fail(v->dev.log, AT_ERROR_FAILED, "op %s could not be prepared for \"%s\"", node->op->name,
                       v->dev.name);
    if (l.barriers)
        r->count = 0;
    memcpy(r->pending + r->count, touched, (size_t)n * sizeof(*touched));
    r->count += n;
    return true;
}

// Looks at what a step has put out.
static bool watch(struct vulkan *v, struct recorder *r, const struct at_run *run, int s, struct at_buffer *const *arena)
{
    const struct at_node *node = run->plan->steps[s].node;
    uint64_t out = resolve(&run->plan->place[node->id], arena), n = bytes_of(node) / 4;
    struct access read = access_of(out, n * 4, false);
    order(r, &read, 1);
    struct at_lower l = {.node = node, .info = at_vk_device_info(v->vk), .log = v->dev.log, .dev = v->vk,
                         .commands = r->commands};
    struct not_finite_push push = {out, at_vk_buffer_address(run->first_bad), (uint32_t)n, (uint32_t)s};
    uint32_t constants[] = {at_lower_workgroup(&l, 256), node->dtype == AT_F16};
    r->pending[r->count++] = read;
    return at_lower_dispatch(&l, &(struct at_lower_dispatch_params){.kernel = "not_finite_f32",
                                                                    .constants = constants,
                                                                    .constant_count = 2,
                                                                    .push = &push,
                                                                    .push_size = sizeof(push),
                                                                    .groups = at_lower_line(&l, n, 1),
                                                                    .flops = (double)n});
}

static void release_run(struct at_device *dev, struct at_run *run)
{
    (void)dev;
    at_vk_buffer_destroy(&run->first_bad);
    for (int p = 0; p < AT_PHASES; p++)
        at_vk_commands_destroy(&run->phase[p]);
    at_free(run);
}

static bool compile_phase(struct vulkan *v, struct at_run *run, int phase, const struct at_plan *plan,
                          struct at_buffer *const *arena)
{
    int begin = phase ? plan->phase_end[phase - 1] : 0, end = plan->phase_end[phase];
    if (begin == end)
        return true;
    struct recorder r = {.commands = run->phase[phase] = at_vk_commands_begin(v->vk, NULL)};
    if (!r.commands)
        return false;
    for (int s = begin; s < end; s++) {
        if (!plan->steps[s].node->op->alias && !lower_step(v, &r, plan, &plan->steps[s], arena))
            return false;
        if (run->first_bad && at_guard_watches(plan->steps[s].node) && !watch(v, &r, run, s, arena))
            return false;
    }
    run->barriers[phase] = r.barriers;
    return at_vk_commands_end(r.commands);
}

static struct at_run *compile(struct at_device *dev, const struct at_plan *plan, struct at_buffer *const *arena)
{
    struct at_run *run = at_calloc(1, sizeof(*run));
    if (!run) {
        at_fail_memory(dev->log, sizeof(*run));
        return NULL;
    }
    run->plan = plan;
    struct at_vk_buffer_params params = {.size = 4, .host = true, .name = "guard"};
    if (dev->guard && !(run->first_bad = at_vk_buffer_create(vulkan_of(dev)->vk, &params))) {
        release_run(dev, run);
        return NULL;
    }
    for (int p = 0; p < AT_PHASES; p++)
        if (!compile_phase(vulkan_of(dev), run, p, plan, arena)) {
            release_run(dev, run);
            return NULL;
        }
    return run;
}

static bool run_phase(struct at_device *dev, struct at_run *run, int phase)
{
    if (!run->phase[phase])
        return true;
    uint32_t *first = run->first_bad ? at_vk_buffer_map(run->first_bad) : NULL;
    if (first)
        *first = UINT32_MAX;
    if (!at_vk_run(run->phase[phase]))
        return false;
    return !first || *first == UINT32_MAX || at_guard_fail(dev->log, run->plan->steps[*first].node);
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

struct at_device *at_vulkan_open(const struct at_vulkan_params *params, struct at_log *log)
{
    struct vulkan *v = at_calloc(1, sizeof(*v));
    if (!v) {
        at_fail_memory(log, sizeof(*v));
        return NULL;
    }
    v->vk = at_vk_device_open(&(struct at_vk_device_params){.log = log, .select = params->select});
    if (!v->vk) {
        at_free(v);
        return NULL;
    }
    const struct at_vk_info *info = at_vk_device_info(v->vk);
    v->dev = (struct at_device){.api = &api, .log = log, .kind = "vulkan", .real_size = 4, .own_memory = true};
    v->dev.max_chunk = info->max_buffer < SIZE_MAX ? (size_t)info->max_buffer : SIZE_MAX;
    v->dev.staging = (size_t)at_vk_staging_bytes(v->vk);
    v->dev.memory = info->memory < SIZE_MAX ? (size_t)info->memory : SIZE_MAX;
    snprintf(v->dev.name, sizeof(v->dev.name), "%.127s", info->name);
    return &v->dev;
}

struct at_vk_device *at_vulkan_device(const struct at_device *dev)
{
    return ((const struct vulkan *)dev)->vk;
}

int at_vulkan_barriers(const struct at_run *run, int phase)
{
    return run->barriers[phase];
}
