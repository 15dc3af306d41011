// SPDX-License-Identifier: Apache-2.0
#include "core/optim/optimizer.h"

#include "core/base/alloc.h"
#include "core/ops/build.h"

#include <math.h>

struct at_optimizer {
    struct at_log *log;
    struct at_optimizer_params params;
    struct at_params *sets[AT_OPTIMIZER_SETS];
    struct at_store *moments[AT_OPTIMIZER_SETS], *average[AT_OPTIMIZER_SETS];
    int count;
    struct at_graph *graph;
    struct at_node *norm[AT_OPTIMIZER_SETS], *scalars, *decay;
    struct at_exec *exec;
};

static struct at_node *whole(struct at_graph *g, const char *name, struct at_store *store)
{
    return at_graph_leaf(g, name, AT_SHAPE(store->count), store, NULL, 0);
}

// Phase 0: sum the replicas' gradients and measure them. Phase 1: update, and clear the gradients.
static bool build(struct at_optimizer *o)
{
    struct at_graph *g = o->graph;
    for (int s = 0; s < o->count; s++) {
        struct at_node *grad = whole(g, "gradient", o->sets[s]->grad[0]);
        for (int r = 1; r < AT_REPLICAS && o->sets[s]->grad[r]; r++)
            grad = at_accumulate(g, grad, whole(g, "gradient", o->sets[s]->grad[r]));
        o->norm[s] = at_graph_output(g, at_sq_norm(g, grad), "squared norm");
    }
    at_graph_next_phase(g);
    o->scalars = at_graph_input(g, "scalars", AT_SHAPE(8), AT_F32);
    o->decay = at_graph_input(g, "decay", AT_SHAPE(1), AT_F32);
    for (int s = 0; s < o->count; s++) {
        struct at_node *grad = whole(g, "gradient", o->sets[s]->grad[0]);
        struct at_node *w = whole(g, "weights", o->sets[s]->store);
        struct at_node *m = at_graph_leaf(g, "moments", AT_SHAPE(2, o->sets[s]->total), o->moments[s], NULL, 0);
        m = at_adamw_moments(g, m, grad, o->scalars);
        w = at_adamw(g, w, m, o->scalars);
        if (o->average[s])
            at_ema(g, whole(g, "average", o->average[s]), w, o->decay);
        for (int r = 0; r < AT_REPLICAS && o->sets[s]->grad[r]; r++)
            at_fill(g, whole(g, "gradient", o->sets[s]->grad[r]), 0);
    }
    return at_graph_ok(g);
}

static bool copy_store(const struct at_store *from, struct at_store *to, struct at_log *log)
{
    float *values = at_calloc((size_t)from->count, sizeof(*values));
    if (!values)
        return at_fail_memory(log, (size_t)from->count * sizeof(*values));
    bool ok = at_store_read(from, 0, values, from->count) && at_store_write(to, 0, values, from->count);
    at_free(values);
    return ok;
}

struct at_optimizer *at_optimizer_create(struct at_params *const *sets, int count,
                                         const struct at_optimizer_params *params, struct at_log *log)
{
    struct at_optimizer *o = at_calloc(1, sizeof(*o));
    if (!o) {
        at_fail_memory(log, sizeof(*o));
        return NULL;
    }
    *o = (struct at_optimizer){.log = log, .params = *params, .count = count};
    for (int s = 0; s < count; s++) {
        struct at_device *dev = sets[s]->store->dev;
        o->sets[s] = sets[s];
        if (!(o->moments[s] = at_store_create(dev, 2 * sets[s]->total, AT_USE_OPTIMIZER, log)))
            goto error;
        if (params->ema > 0 && (!(o->average[s] = at_store_create(dev, sets[s]->total, AT_USE_OPTIMIZER, log)) ||
                                (sets[s]->store->buffer && !copy_store(sets[s]->store, o->average[s], log))))
            goto error;
    }
    if (!(o->graph = at_graph_create(log)) || !build(o))
        goto error;
    if (!(o->exec = at_exec_create(sets[0]->store->dev, o->graph)))
        goto error;
    return o;
error:
    at_optimizer_destroy(&o);
    return NULL;
}

void at_optimizer_destroy(struct at_optimizer **optimizer)
{
    struct at_optimizer *o = *optimizer;
    if (!o)
        return;
    at_exec_destroy(&o->exec);
    at_graph_destroy(&o->graph);
    for (int s = 0; s < o->count; s++) {
        at_store_destroy(&o->moments[s]);
        at_store_destroy(&o->average[s]);
    }
    at_free(o);
    *optimizer = NULL;
}

bool at_optimizer_step(struct at_optimizer *o, int64_t step, double lr, double scale, double *norm)
{
    if (!at_exec_run(o->exec, 0))
        return false;
    double total = 0;
    for (int s = 0; s < o->count; s++) {
        float sum;
        if (!at_exec_read(o->exec, o->norm[s], &sum))
            return false;
        total += sum;
    }
    total = sqrt(total) * scale;
    if (norm)
        *norm = total;
    if (!isfinite(total))
        return at_fail(o->log, AT_ERROR_FAILED,
                       "step %lld: the gradient is not finite; lower the learning rate or look at the data",
                       (long long)step);
    if (o->params.clip > 0 && total > o->params.clip)
        scale *= o->params.clip / total;
    const struct at_optimizer_params *p = &o->params;
    float scalars[8] = {(float)lr,
                        (float)p->beta1,
                        (float)p->beta2,
                        (float)p->eps,
                        (float)p->weight_decay,
                        (float)(1 - pow(p->beta1, (double)step)),
                        (float)(1 - pow(p->beta2, (double)step)),
                        (float)scale};
    float decay = (float)p->ema;
    return at_exec_write(o->exec, o->scalars, scalars) && at_exec_write(o->exec, o->decay, &decay) &&
           at_exec_run(o->exec, 1);
}

struct at_store *at_optimizer_moments(struct at_optimizer *o, int set)
{
    return o->moments[set];
}

struct at_store *at_optimizer_average(struct at_optimizer *o, int set)
{
    return o->average[set];
}
