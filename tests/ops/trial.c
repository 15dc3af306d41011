// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/trial.h"

#include "core/base/alloc.h"
#include "core/base/half.h"
#include "core/base/rng.h"
#include "core/cpu/cpu.h"
#include "core/graph/gradient.h"
#include "tests/ops/guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool ops_case_wants(const struct at_op *op, const struct at_op_case *c, int i)
{
    return c->in[i].rank && at_case_dtype(c, i) == AT_F32 && !(op->constant >> i & 1);
}

bool ops_case_differentiable(const struct at_op *op, const struct at_op_case *c)
{
    bool any = false;
    for (int i = 0; i < AT_ARITY; i++)
        any = any || ops_case_wants(op, c, i);
    return op->backward && !c->forward_only && any;
}

const char *ops_case_text(const struct at_op *op, const struct at_op_case *c, uint64_t seed, char text[OPS_NAME])
{
    char s[AT_SHAPE_TEXT];
    int used = snprintf(text, OPS_NAME, "%s", op->name);
    for (int i = 0; i < AT_ARITY; i++)
        if (c->in[i].rank)
            used += snprintf(text + used, (size_t)(OPS_NAME - used), " in%d=%s%s", i, at_shape_text(c->in[i], s),
                             c->whole >> i & 1 ? "whole"
                             : at_case_dtype(c, i) != AT_F32 ? at_dtype_name(at_case_dtype(c, i)) : "");
    if (c->shape.rank)
        used += snprintf(text + used, (size_t)(OPS_NAME - used), " shape=%s", at_shape_text(c->shape, s));
    for (int i = 0; i < 8; i++)
        if (c->attr.i[i])
            used += snprintf(text + used, (size_t)(OPS_NAME - used), " i%d=%" PRId32, i, c->attr.i[i]);
    for (int i = 0; i < 4; i++)
        if (c->attr.f[i] != 0)
            used += snprintf(text + used, (size_t)(OPS_NAME - used), " f%d=%g", i, (double)c->attr.f[i]);
    if (c->low != 0 || c->high != 0)
        used += snprintf(text + used, (size_t)(OPS_NAME - used), " range=%g..%g", (double)c->low, (double)c->high);
    if (c->ints | c->whole)
        used += snprintf(text + used, (size_t)(OPS_NAME - used), " limit=%d", c->limit);
    snprintf(text + used, (size_t)(OPS_NAME - used), " seed=%" PRIu64, seed);
    return text;
}

static uint16_t bits_of(float x, enum at_dtype type)
{
    return type == AT_F16 ? at_f16_from_f32(x) : at_bf16_from_f32(x);
}

static double rounded(float x, enum at_dtype type)
{
    if (!at_dtype_half(type))
        return (double)x;
    return (double)(type == AT_F16 ? at_f32_from_f16(bits_of(x, type)) : at_f32_from_bf16(bits_of(x, type)));
}

bool ops_data_init(struct ops_data *d, const struct at_op_case *c, int64_t y_count, uint64_t seed)
{
    bool plain = c->low == 0 && c->high == 0;
    double low = plain ? -1 : (double)c->low, high = plain ? 1 : (double)c->high;
    *d = (struct ops_data){0};
    for (int i = 0; i < OPS_SLOTS; i++) {
        d->n[i] = i == OPS_DY ? y_count : c->in[i].rank ? at_shape_count(c->in[i]) : 0;
        if (d->n[i] == 0)
            continue;
        d->x[i] = at_calloc((size_t)d->n[i], sizeof(double));
        if (!d->x[i])
            return false;
        uint64_t s = seed * OPS_SLOTS + (uint64_t)i;
        for (int64_t j = 0; j < d->n[i]; j++) {
            double u = at_rng_uniform(s, AT_STREAM_MAKE, (uint64_t)j);
            if (i == OPS_DY)
                d->x[i][j] = (double)(float)(2 * u - 1);
            else if ((c->ints | c->whole) >> i & 1)
                d->x[i][j] = (double)(int32_t)(u * c->limit);
            else
                d->x[i][j] = rounded((float)(low + u * (high - low)), i == OPS_DY ? AT_F32 : at_case_dtype(c, i));
        }
    }
    return true;
}

void ops_data_finish(struct ops_data *d)
{
    for (int i = 0; i < OPS_SLOTS; i++)
        at_free(d->x[i]);
    *d = (struct ops_data){0};
}

static bool add_inputs(struct ops_trial *t, struct at_log *log)
{
    static const char *const names[AT_ARITY] = {"in0", "in1", "in2", "in3", "in4", "in5"};
    for (int i = 0; i < AT_ARITY; i++) {
        struct at_shape s = t->c->in[i];
        if (!s.rank)
            continue;
        if (i == 0 && t->op->updates) {
            t->store = ops_guard_store(t->dev, at_shape_count(s), log);
            if (!t->store)
                return false;
            t->node[0] = at_graph_leaf(t->g, names[0], s, t->store, NULL, OPS_GUARD);
        } else {
            t->node[i] = at_graph_input(t->g, names[i], s, at_case_dtype(t->c, i));
        }
    }
    return at_graph_ok(t->g);
}

static bool add_gradient(struct ops_trial *t)
{
    struct at_node *wrt[AT_ARITY], *dx[AT_ARITY];
    int slot[AT_ARITY], n = 0;
    for (int i = 0; i < AT_ARITY; i++)
        if (ops_case_wants(t->op, t->c, i)) {
            wrt[n] = t->node[i];
            slot[n++] = i;
        }
    t->node[OPS_DY] = at_graph_input(t->g, "dy", t->y->shape, AT_F32);
    struct at_seed seed = {t->y, t->node[OPS_DY]};
    struct at_gradient_params params = {.seeds = &seed, .seed_count = 1, .wrt = wrt, .dx = dx, .wrt_count = n};
    if (!t->node[OPS_DY] || !at_graph_backward(t->g, &params))
        return false;
    for (int i = 0; i < n; i++)
        t->dx[slot[i]] = dx[i] ? at_graph_output(t->g, dx[i], "dx") : NULL;
    return at_graph_ok(t->g);
}

struct ops_trial *ops_trial_create(struct at_device *dev, const struct at_op *op, const struct at_op_case *c,
                                   const struct ops_trial_params *params, struct at_log *log)
{
    struct ops_trial *t = at_calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    *t = (struct ops_trial){.op = op, .c = c, .dev = dev};
    t->g = at_graph_create(log);
    if (!t->g || !add_inputs(t, log))
        goto error;
    t->y = at_graph_append(t->g, op, t->node, AT_ARITY, &c->attr, c->shape.rank ? &c->shape : NULL);
    if (!at_graph_output(t->g, t->y, "y"))
        goto error;
    if (params->grad && ops_case_differentiable(op, c) && !add_gradient(t))
        goto error;
    t->exec = params->guarded ? ops_guard_exec(dev, t->g, log) : at_exec_create(dev, t->g);
    if (t->exec)
        return t;
error:
    ops_trial_destroy(&t);
    return NULL;
}

void ops_trial_destroy(struct ops_trial **t)
{
    if (!*t)
        return;
    at_exec_destroy(&(*t)->exec);
    at_store_destroy(&(*t)->store);
    at_graph_destroy(&(*t)->g);
    at_free(*t);
    *t = NULL;
}

// Whether the node's values are to be had as doubles.
static bool has_doubles(const struct ops_trial *t, const struct at_node *n)
{
    return t->dev->real_size == sizeof(double) && n->dtype == AT_F32;
}

static double *oracle_memory(const struct ops_trial *t, const struct at_node *n)
{
    const struct at_place *p = &t->exec->plan->place[n->id];
    char *base = at_cpu_memory(p->store ? p->store->buffer : t->exec->arena[p->chunk]);
    return (double *)(void *)(base + p->offset);
}

static bool write_slot(struct ops_trial *t, int slot, const double *x)
{
    const struct at_node *n = t->node[slot];
    int64_t count = at_shape_count(n->shape);
    if (!t->exec->plan->live[n->id])
        return true;
    if (has_doubles(t, n)) {
        memcpy(oracle_memory(t, n), x, (size_t)count * sizeof(double));
        return true;
    }
    void *data = at_calloc((size_t)count, sizeof(float));
    if (!data)
        return false;
    for (int64_t j = 0; j < count; j++)
        if (n->dtype == AT_I32)
            ((int32_t *)data)[j] = (int32_t)x[j];
        else if (at_dtype_half(n->dtype))
            ((uint16_t *)data)[j] = bits_of((float)x[j], n->dtype);
        else
            ((float *)data)[j] = (float)x[j];
    bool ok = at_exec_write(t->exec, n, data);
    at_free(data);
    return ok;
}

bool ops_trial_run(struct ops_trial *t, const struct ops_data *data)
{
    for (int i = 0; i < OPS_SLOTS; i++)
        if (t->node[i] && !write_slot(t, i, data->x[i]))
            return false;
    return at_exec_run(t->exec, 0);
}

double *ops_trial_read(const struct ops_trial *t, const struct at_node *n)
{
    int64_t count = at_shape_count(n->shape);
    double *x = at_calloc((size_t)count, sizeof(double));
    float *f = at_calloc((size_t)count, sizeof(float));
    bool ok = x && f;
    if (ok && has_doubles(t, n))
        memcpy(x, oracle_memory(t, n), (size_t)count * sizeof(double));
    else if (ok && (ok = at_exec_read(t->exec, n, f)))
        for (int64_t j = 0; j < count; j++)
            x[j] = (double)f[j];
    at_free(f);
    if (!ok) {
        at_free(x);
        return NULL;
    }
    return x;
}

bool ops_trial_intact(const struct ops_trial *t, const struct ops_data *data, char *why, size_t size)
{
    for (int i = 0; i < OPS_SLOTS; i++) {
        const struct at_node *n = t->node[i];
        if (!n || n->store || n->dtype == AT_I32 || !t->exec->plan->live[n->id])
            continue;
        if (!ops_guard_equal(t->exec, n, data->x[i], why, size))
            return false;
    }
    if (t->store && !ops_guard_store_intact(t->store, why, size))
        return false;
    return ops_guard_intact(t->exec, why, size);
}
