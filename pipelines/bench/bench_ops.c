// SPDX-License-Identifier: Apache-2.0
#include "pipelines/bench/bench_ops.h"

#include "core/base/alloc.h"
#include "core/base/clock.h"
#include "core/base/half.h"
#include "core/base/rng.h"
#include "core/base/suggest.h"
#include "core/cpu/cpu.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PERIOD 65536 // after so many elements, inputs repeat

// One size, compiled: a graph of the op alone, and the matrices of the product beside it.
struct trial {
    struct at_graph *g;
    struct at_store *store; // input 0, if the op updates it
    struct at_exec *exec;
    const struct at_node *y;
    bool compared;
    struct at_product_shape product;
    float *a, *b, *c;
};

static void describe(const struct at_op_case *c, char text[AT_BENCH_TEXT])
{
    char s[AT_SHAPE_TEXT];
    int used = 0, last = 7;
    for (int i = 0; i < AT_ARITY; i++)
        if (c->in[i].rank)
            used += snprintf(text + used, (size_t)(AT_BENCH_TEXT - used), "%s%s%s", used ? " " : "",
                             at_shape_text(c->in[i], s),
                             at_dtype_half(at_case_dtype(c, i)) ? at_dtype_name(at_case_dtype(c, i)) : "");
    if (c->shape.rank)
        used += snprintf(text + used, (size_t)(AT_BENCH_TEXT - used), " to %s", at_shape_text(c->shape, s));
    while (last >= 0 && !c->attr.i[last])
        last--;
    for (int i = 0; i <= last; i++)
        used += snprintf(text + used, (size_t)(AT_BENCH_TEXT - used), "%s%" PRId32, i ? "," : " attr ", c->attr.i[i]);
}

// Input i as its device takes it: floats, integers, or halves.
static void *make_values(const struct at_op_case *c, int i)
{
    int64_t n = at_shape_count(c->in[i]);
    bool plain = c->low == 0 && c->high == 0, ints = c->ints >> i & 1;
    double low = plain ? -1 : (double)c->low, high = plain ? 1 : (double)c->high;
    float *x = at_calloc((size_t)n, sizeof(*x));
    for (int64_t j = 0; x && j < n; j++) {
        double u = j < PERIOD ? at_rng_uniform((uint64_t)i, AT_STREAM_MAKE, (uint64_t)j) : 0;
        int32_t whole = (int32_t)(u * c->limit);
        if (j >= PERIOD)
            x[j] = x[j - PERIOD];
        else if (ints)
            memcpy(&x[j], &whole, sizeof(whole));
        else
            x[j] = (float)(low + u * (high - low));
    }
    enum at_dtype type = at_case_dtype(c, i);
    for (int64_t j = 0; x && at_dtype_half(type) && j < n; j++) {
        uint16_t h = type == AT_F16 ? at_f16_from_f32(x[j]) : at_bf16_from_f32(x[j]);
        memcpy((char *)x + 2 * j, &h, sizeof(h));
    }
    return x;
}

static bool write_inputs(struct trial *t, struct at_node *const *in, const struct at_op_case *c)
{
    for (int i = 0; i < AT_ARITY; i++) {
        if (!in[i] || !t->exec->plan->live[in[i]->id])
            continue;
        float *x = make_values(c, i);
        bool ok = x && (in[i]->store ? at_store_write(t->store, 0, x, t->store->count)
                                     : at_exec_write(t->exec, in[i], x));
        at_free(x);
        if (!ok)
            return false;
    }
    return true;
}

static bool open_product(struct trial *t, const struct at_op *op, const struct at_bench_ops_params *p)
{
    struct at_product_shape *s = &t->product;
    if (!p->sgemm || !op->product || !op->product(t->y, s))
        return true;
    t->compared = true;
    t->a = at_calloc_aligned((size_t)(s->m * s->k), sizeof(float));
    t->b = at_calloc_aligned((size_t)(s->n * s->k), sizeof(float));
    t->c = at_calloc_aligned((size_t)(s->m * s->n), sizeof(float));
    for (int64_t i = 0; t->a && i < s->m * s->k; i++)
        t->a[i] = (float)(i % 251) - 125;
    for (int64_t i = 0; t->b && i < s->n * s->k; i++)
        t->b[i] = (float)(i % 241) - 120;
    return t->a && t->b && t->c;
}

static bool open_trial(struct trial *t, struct at_device *dev, const struct at_op *op, const struct at_op_case *c,
                       const struct at_bench_ops_params *p)
{
    struct at_node *in[AT_ARITY] = {0};
    if (!(t->g = at_graph_create(dev->log)))
        return false;
    for (int i = 0; i < AT_ARITY; i++) {
        if (!c->in[i].rank)
            continue;
        if (i == 0 && op->updates &&
            !(t->store = at_store_create(dev, at_shape_count(c->in[0]), AT_USE_WEIGHTS, dev->log)))
            return false;
        in[i] = i == 0 && op->updates ? at_graph_leaf(t->g, "in", c->in[0], t->store, NULL, 0)
                                      : at_graph_input(t->g, "in", c->in[i], at_case_dtype(c, i));
    }
    struct at_node *y = at_graph_append(t->g, op, in, AT_ARITY, &c->attr, c->shape.rank ? &c->shape : NULL);
    t->y = at_graph_output(t->g, y, "y");
    return t->y && (t->exec = at_exec_create(dev, t->g)) && write_inputs(t, in, c) && open_product(t, op, p);
}

static void close_trial(struct trial *t)
{
    at_exec_destroy(&t->exec);
    at_store_destroy(&t->store);
    at_graph_destroy(&t->g);
    at_free(t->a);
    at_free(t->b);
    at_free(t->c);
}

// The op and the bare product in turn; the first round of both warms up.
static bool time_trial(struct trial *t, struct at_device *dev, double seconds, struct at_bench_line *line)
{
    line->seconds = 1e30;
    line->sgemm = t->compared ? 1e30 : 0;
    double start = at_clock();
    for (int round = 0; round < 4 || at_clock() - start < seconds; round++) {
        double begin = at_clock();
        if (!at_exec_run(t->exec, 0))
            return false;
        double middle = at_clock();
        if (t->compared)
            at_ceilings_product(&t->product, at_cpu_threads(dev), t->a, t->b, t->c);
        double end = at_clock();
        if (round && middle - begin < line->seconds)
            line->seconds = middle - begin;
        if (round && t->compared && end - middle < line->sgemm)
            line->sgemm = end - middle;
        if (round == 0)
            start = at_clock();
    }
    return true;
}

static bool bench_size(struct at_device *dev, const struct at_bench_ops_params *p, const struct at_op *op,
                       const struct at_op_case *c)
{
    struct trial t = {0};
    struct at_bench_line line = {.op = op};
    bool ok = open_trial(&t, dev, op, c, p) && time_trial(&t, dev, p->seconds > 0 ? p->seconds : 0.2, &line);
    if (ok) {
        describe(c, line.text);
        line.cost = op->cost(t.y);
        if (!p->take(p->priv, &line))
            ok = at_fail(dev->log, AT_ERROR_INTERRUPTED, "the bench was interrupted");
    }
    close_trial(&t);
    return ok || at_fail_unsaid(dev->log);
}

static bool asked_for(const struct at_bench_ops_params *p, const char *name)
{
    bool found = !p->ops;
    for (size_t i = 0; p->ops && i < p->count; i++)
        found = found || strcmp(p->ops[i], name) == 0;
    return found;
}

static bool check_name(const char *name, struct at_log *log)
{
    const char *names[AT_OP_COUNT];
    size_t n = 0;
    for (int i = 0; i < AT_OP_COUNT; i++) {
        if (at_ops[i]->alias)
            continue;
        if (strcmp(at_ops[i]->name, name) == 0)
            return true;
        names[n++] = at_ops[i]->name;
    }
    const char *near = at_suggest(name, names, n);
    return at_fail(log, AT_ERROR_USAGE, "unknown operator \"%s\"%s%s%s", name,
                   near ? "; did you mean " : "; core/ops/build.h lists them", near ? near : "", near ? "?" : "");
}

bool at_bench_ops_check(const char *const *ops, size_t count, struct at_log *log)
{
    for (size_t i = 0; i < count; i++)
        if (!check_name(ops[i], log))
            return false;
    return true;
}

bool at_bench_ops(struct at_device *dev, const struct at_bench_ops_params *p)
{
    bool vulkan = strcmp(dev->kind, "vulkan") == 0;
    for (const struct at_bench_size *s = at_bench_sizes; s->op; s++) {
        for (int i = 0; i < AT_OP_COUNT; i++) {
            const struct at_op *op = at_ops[i];
            if (strcmp(op->name, s->op) == 0 && asked_for(p, op->name) && (op->vulkan || !vulkan) &&
                !bench_size(dev, p, op, &s->c))
                return false;
        }
    }
    return true;
}
