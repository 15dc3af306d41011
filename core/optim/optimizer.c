// SPDX-License-Identifier: Apache-2.0
#include "core/optim/optimizer.h"

#include "core/base/alloc.h"
#include "core/ops/build.h"

#include <math.h>

// What belongs to a piece of a set.
struct part {
    const struct at_piece *piece;
    int set;
    struct at_store *moments, *average; // (2, count), (count)
    struct at_node *norm;
};

struct at_optimizer {
    struct at_log *log;
    struct at_optimizer_params params;
    struct at_params *sets[AT_OPTIMIZER_SETS];
    struct part *parts;
    int count, set_count; // of parts, of sets
    struct at_graph *graph;
    struct at_node *scalars[AT_OPTIMIZER_SETS], *decay;
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
    for (int i = 0; i < o->count; i++) {
        const struct at_piece *piece = o->parts[i].piece;
        struct at_node *grad = whole(g, "gradient", piece->grad[0]);
        for (int r = 1; r < AT_REPLICAS && piece->grad[r]; r++)
            grad = at_accumulate(g, grad, whole(g, "gradient", piece->grad[r]));
        o->parts[i].norm = at_graph_output(g, at_sq_norm(g, grad), "squared norm");
    }
    at_graph_next_phase(g);
    for (int s = 0; s < o->set_count; s++)
        o->scalars[s] = at_graph_input(g, "scalars", AT_SHAPE(8), AT_F32);
    o->decay = at_graph_input(g, "decay", AT_SHAPE(1), AT_F32);
    for (int i = 0; i < o->count; i++) {
        const struct part *part = &o->parts[i];
        const struct at_piece *piece = part->piece;
        struct at_node *grad = whole(g, "gradient", piece->grad[0]);
        struct at_node *w = whole(g, "weights", piece->store);
        struct at_node *m = at_graph_leaf(g, "moments", AT_SHAPE(2, piece->count), part->moments, NULL, 0);
        m = at_adamw_moments(g, m, grad, o->scalars[part->set]);
        w = at_adamw(g, w, m, o->scalars[part->set]);
        if (part->average)
            at_ema(g, whole(g, "average", part->average), w, o->decay);
        for (int r = 0; r < AT_REPLICAS && piece->grad[r]; r++)
            at_fill(g, whole(g, "gradient", piece->grad[r]), 0);
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

static bool open_part(struct at_optimizer *o, struct part *part, int set, const struct at_piece *piece)
{
    struct at_device *dev = piece->store->dev;
    *part = (struct part){.piece = piece, .set = set};
    part->moments = at_store_create(dev, 2 * piece->count, AT_USE_OPTIMIZER, o->log);
    if (!part->moments || !(o->params.ema > 0))
        return part->moments;
    part->average = at_store_create(dev, piece->count, AT_USE_OPTIMIZER, o->log);
    return part->average && (!piece->store->buffer || copy_store(piece->store, part->average, o->log));
}

struct at_optimizer *at_optimizer_create(struct at_params *const *sets, int count,
                                         const struct at_optimizer_params *params, struct at_log *log)
{
    int parts = 0;
    for (int s = 0; s < count; s++)
        parts += sets[s]->piece_count;
    struct at_optimizer *o = at_calloc(1, sizeof(*o));
    if (!o || !(o->parts = at_calloc((size_t)parts, sizeof(*o->parts)))) {
        at_fail_memory(log, sizeof(*o));
        at_free(o);
        return NULL;
    }
    o->log = log;
    o->params = *params;
    o->set_count = count;
    bool ok = true;
    for (int s = 0; s < count; s++) {
        o->sets[s] = sets[s];
        for (int i = 0; ok && i < sets[s]->piece_count; i++)
            ok = open_part(o, &o->parts[o->count++], s, &sets[s]->pieces[i]);
    }
    ok = ok && (o->graph = at_graph_create(log)) && build(o) && (o->exec = at_exec_create(sets[0]->dev, o->graph));
    if (!ok)
        at_optimizer_destroy(&o);
    return o;
}

void at_optimizer_destroy(struct at_optimizer **optimizer)
{
    struct at_optimizer *o = *optimizer;
    if (!o)
        return;
    at_exec_destroy(&o->exec);
    at_graph_destroy(&o->graph);
    for (int i = 0; i < o->count; i++) {
        at_store_destroy(&o->parts[i].moments);
        at_store_destroy(&o->parts[i].average);
    }
    at_free(o->parts);
    at_free(o);
    *optimizer = NULL;
}

bool at_optimizer_step(struct at_optimizer *o, int64_t step, double lr, double scale, double *norm)
{
    if (!at_exec_run(o->exec, 0))
        return false;
    double total = 0;
    for (int i = 0; i < o->count; i++) {
        float sum;
        if (!at_exec_read(o->exec, o->parts[i].norm, &sum))
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
    float scalars[8] = {0, // the rate, of each set
                        (float)p->beta1,
                        (float)p->beta2,
                        (float)p->eps,
                        (float)p->weight_decay,
                        (float)(1 - pow(p->beta1, (double)step)),
                        (float)(1 - pow(p->beta2, (double)step)),
                        (float)scale};
    float decay = (float)p->ema;
    bool ok = at_exec_write(o->exec, o->decay, &decay);
    for (int s = 0; ok && s < o->set_count; s++) {
        scalars[0] = (float)(p->rates[s] > 0 ? lr * p->rates[s] : lr);
        ok = at_exec_write(o->exec, o->scalars[s], scalars);
    }
    return ok && at_exec_run(o->exec, 1);
}

int64_t at_optimizer_count(const struct at_optimizer *o, int set, enum at_vector vector)
{
    int64_t total = o->sets[set]->total;
    return vector == AT_VECTOR_MOMENTS ? 2 * total : vector == AT_VECTOR_AVERAGE && !(o->params.ema > 0) ? 0 : total;
}

// Where a part of a vector lies: `count` elements from `at` of the store on, and from `first` of the flat vector on.
struct stretch {
    struct at_store *store;
    int64_t at, first, count;
};

// Stretches 0 and 1 of a part; false where there is none.
static bool stretch_of(const struct at_optimizer *o, const struct part *part, enum at_vector vector, int which,
                       struct stretch *s)
{
    const struct at_piece *piece = part->piece;
    *s = (struct stretch){piece->store, 0, piece->first, piece->count};
    if (vector == AT_VECTOR_AVERAGE)
        s->store = part->average;
    if (vector == AT_VECTOR_MOMENTS) {
        s->store = part->moments;
        s->at = which * piece->count;
        s->first += which * o->sets[part->set]->total;
    }
    return which < (vector == AT_VECTOR_MOMENTS ? 2 : 1);
}

bool at_optimizer_read(const struct at_optimizer *o, int set, enum at_vector vector, float *values)
{
    struct stretch s;
    bool ok = true;
    for (int i = 0; i < o->count; i++)
        for (int which = 0; ok && o->parts[i].set == set && stretch_of(o, &o->parts[i], vector, which, &s); which++)
            ok = at_store_read(s.store, s.at, values + s.first, s.count);
    return ok;
}

bool at_optimizer_write(struct at_optimizer *o, int set, enum at_vector vector, const float *values)
{
    struct stretch s;
    bool ok = true;
    for (int i = 0; i < o->count; i++)
        for (int which = 0; ok && o->parts[i].set == set && stretch_of(o, &o->parts[i], vector, which, &s); which++)
            ok = at_store_write(s.store, s.at, values + s.first, s.count);
    return ok;
}
