// SPDX-License-Identifier: Apache-2.0
#include "pipelines/model/spread.h"

#include "core/base/alloc.h"
#include "core/models/params.h"

#include <string.h>

struct worker {
    struct at_graph *graph;
    struct at_ports ports;
    struct at_node *seeds[AT_PORTS];
    struct at_exec *exec;
    unsigned char *pad; // a whole batch of the widest port, for the last items
};

struct at_spread {
    struct at_log *log;
    struct worker *workers;
    int count, batch;
    int rounds; // with gradient: batches of a worker in a run
};

// Bytes of one item of a port.
static size_t item_bytes(const struct at_node *n, int batch)
{
    return (size_t)at_shape_count(n->shape) * 4 / (size_t)batch;
}

static bool append_gradient(struct worker *w, const struct at_spread_params *p)
{
    struct at_seed seeds[AT_PORTS];
    int n = 0;
    at_graph_next_phase(w->graph);
    for (; n < AT_PORTS && w->ports.out[n]; n++) {
        w->seeds[n] = at_graph_input(w->graph, "seed", w->ports.out[n]->shape, AT_F32);
        seeds[n] = (struct at_seed){w->ports.out[n], w->seeds[n]};
    }
    struct at_gradient_params params = {.seeds = seeds, .seed_count = n, .recompute = p->recompute};
    return at_graph_backward(w->graph, &params);
}

static bool open_worker(struct worker *w, const struct at_spread_params *p, int number, int batch, struct at_log *log)
{
    if (!(w->graph = at_graph_create(log)) || !p->build(p->priv, w->graph, number, batch, &w->ports) ||
        !at_graph_ok(w->graph) || (p->gradient && !append_gradient(w, p)))
        return false;
    size_t widest = 0;
    for (int i = 0; i < AT_PORTS; i++) {
        if (w->ports.out[i])
            at_graph_output(w->graph, w->ports.out[i], "out");
        for (int k = 0; k < 2; k++) {
            const struct at_node *n = k ? w->ports.out[i] : w->ports.in[i];
            size_t bytes = n ? item_bytes(n, batch) : 0;
            widest = bytes > widest ? bytes : widest;
        }
    }
    w->pad = at_calloc(widest, (size_t)batch);
    w->exec = at_exec_create(p->dev, w->graph);
    return w->pad && w->exec;
}

struct at_spread *at_spread_create(const struct at_spread_params *p, struct at_log *log)
{
    struct at_spread *s = at_calloc(1, sizeof(*s));
    if (!s) {
        at_fail_memory(log, sizeof(*s));
        return NULL;
    }
    int most = p->max_batch > 0 ? p->max_batch : 16, items = p->items > 0 ? p->items : 1;
    int at_once = p->gradient && p->at_once > 0 ? p->at_once : items;
    s->log = log;
    s->rounds = items / at_once;
    s->count = p->gradient ? at_spread_replicas(p->dev, at_once) : items < p->dev->workers ? items : p->dev->workers;
    // One item: one graph, whose operators use all cores.
    s->count = s->count > 0 ? s->count : 1;
    s->batch = (at_once + s->count - 1) / s->count;
    s->batch = s->batch < most || p->gradient ? s->batch : most;
    s->workers = at_calloc((size_t)s->count, sizeof(*s->workers));
    bool ok = s->workers;
    for (int i = 0; ok && i < s->count; i++)
        ok = open_worker(&s->workers[i], p, i, s->batch, log);
    if (!ok)
        at_spread_destroy(&s);
    return s;
}

void at_spread_destroy(struct at_spread **spread)
{
    struct at_spread *s = *spread;
    if (!s)
        return;
    for (int i = 0; s->workers && i < s->count; i++) {
        at_exec_destroy(&s->workers[i].exec);
        at_graph_destroy(&s->workers[i].graph);
        at_free(s->workers[i].pad);
    }
    at_free(s->workers);
    at_free(s);
    *spread = NULL;
}

// The forward of items [first, first + count) on one worker; a short batch is filled up with zeros.
static bool run_forward(struct worker *w, int batch, int first, int count, const void *const *in)
{
    for (int i = 0; i < AT_PORTS && w->ports.in[i]; i++) {
        size_t bytes = item_bytes(w->ports.in[i], batch);
        const unsigned char *data = (const unsigned char *)in[i] + (size_t)first * bytes;
        if (count < batch) {
            memset(w->pad, 0, bytes * (size_t)batch);
            data = memcpy(w->pad, data, bytes * (size_t)count);
        }
        if (!at_exec_write(w->exec, w->ports.in[i], data))
            return false;
    }
    return at_exec_run(w->exec, 0);
}

static bool run_batch(struct worker *w, int batch, int first, int count, const void *const *in, void *const *out)
{
    if (!run_forward(w, batch, first, count, in))
        return false;
    for (int i = 0; i < AT_PORTS && w->ports.out[i]; i++) {
        size_t bytes = item_bytes(w->ports.out[i], batch);
        unsigned char *to = (unsigned char *)out[i] + (size_t)first * bytes;
        if (!at_exec_read(w->exec, w->ports.out[i], count < batch ? w->pad : to))
            return false;
        if (count < batch)
            memcpy(to, w->pad, bytes * (size_t)count);
    }
    return true;
}

bool at_spread_run(struct at_spread *s, int n, const void *const *in, void *const *out)
{
    int batches = (n + s->batch - 1) / s->batch, failed = 0;
    if (s->count == 1) {
        for (int i = 0; i < batches && !failed; i++) {
            int first = i * s->batch, count = n - first < s->batch ? n - first : s->batch;
            failed = !run_batch(&s->workers[0], s->batch, first, count, in, out);
        }
        return !failed;
    }
    // Worker w takes the batches w, w + count, ...: always the same ones, so that results repeat.
#pragma omp parallel for num_threads(s->count) schedule(static, 1) reduction(| : failed)
    for (int w = 0; w < s->count; w++) {
        for (int i = w; i < batches; i += s->count) {
            int first = i * s->batch, count = n - first < s->batch ? n - first : s->batch;
            failed |= !run_batch(&s->workers[w], s->batch, first, count, in, out);
        }
    }
    return !failed;
}

static bool run_gradient(struct worker *w, int batch, int first, const void *const *seeds)
{
    for (int i = 0; i < AT_PORTS && w->seeds[i]; i++) {
        size_t bytes = item_bytes(w->seeds[i], batch);
        if (!at_exec_write(w->exec, w->seeds[i], (const unsigned char *)seeds[i] + (size_t)first * bytes))
            return false;
    }
    return at_exec_run(w->exec, 1);
}

// All batches of a worker: the last one's values are still there, the others' are made again.
static bool run_gradients(const struct at_spread *s, int worker, const void *const *in, const void *const *seeds)
{
    struct worker *w = &s->workers[worker];
    bool ok = true;
    for (int round = s->rounds - 1; ok && round >= 0; round--) {
        int first = (round * s->count + worker) * s->batch;
        ok = (round == s->rounds - 1 || run_forward(w, s->batch, first, s->batch, in)) &&
             run_gradient(w, s->batch, first, seeds);
    }
    return ok;
}

bool at_spread_backward(struct at_spread *s, const void *const *in, const void *const *seeds)
{
    int failed = 0;
    if (s->count == 1)
        return run_gradients(s, 0, in, seeds);
#pragma omp parallel for num_threads(s->count) schedule(static, 1) reduction(| : failed)
    for (int w = 0; w < s->count; w++)
        failed |= !run_gradients(s, w, in, seeds);
    return !failed;
}

size_t at_spread_bytes(const struct at_spread *s)
{
    size_t bytes = 0;
    for (int i = 0; i < s->count; i++)
        bytes += s->workers[i].exec->plan->arena_bytes;
    return bytes;
}

double at_spread_flops(const struct at_spread *s)
{
    return s->workers[0].exec->plan->flops[0] / s->batch;
}

double at_spread_backward_flops(const struct at_spread *s)
{
    double again = (double)(s->rounds - 1) / s->rounds;
    return s->workers[0].exec->plan->flops[1] / s->batch + again * at_spread_flops(s);
}

int at_spread_replicas(const struct at_device *dev, int at_once)
{
    int count = dev->workers < AT_REPLICAS ? dev->workers : AT_REPLICAS;
    while (count > 1 && at_once % count)
        count--;
    return count > 0 ? count : 1;
}
