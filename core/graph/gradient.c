// SPDX-License-Identifier: Apache-2.0
#include "core/graph/gradient.h"

#include "core/base/alloc.h"
#include "core/ops/build.h"
#include "core/ops/op.h"

#include <stdio.h>

struct tape {
    struct at_graph *g;
    int count;             // forward nodes: ids 0 .. count-1
    bool *needs;           // the node's gradient is wanted
    bool *keep;            // the node's value stays for the backward
    struct at_node **grad; // what has been collected for the node so far
    struct at_node **copy; // the recomputed node
};

// needs[]: leaves that collect, the wanted nodes, and all that depends on them.
static void mark_needs(struct tape *t, const struct at_gradient_params *p)
{
    for (int i = 0; i < p->wrt_count; i++)
        t->needs[p->wrt[i]->id] = true;
    for (int id = 0; id < t->count; id++) {
        const struct at_node *n = at_graph_node(t->g, id);
        if (!n->op) {
            t->needs[id] = t->needs[id] || n->grad;
            continue;
        }
        for (int i = 0; i < AT_ARITY; i++)
            if (n->in[i] && !(n->op->constant >> i & 1) && t->needs[n->in[i]->id])
                t->needs[id] = true;
    }
}

static void mark_kept(struct tape *t, struct at_recompute r)
{
    for (int id = 0; id < t->count; id++) {
        const struct at_node *n = at_graph_node(t->g, id);
        if (!n->op || n->output || n->update >= 0)
            t->keep[id] = true;
        else if (n->op->alias)
            t->keep[id] = t->keep[n->in[0]->id];
        else if (n->segment >= 0 && n->segment < r.segments)
            t->keep[id] = false;
        else
            t->keep[id] = !(r.cheap && n->op->cheap);
    }
    // What leaves a segment is kept, or recomputing it would drag in the whole segment once a user.
    for (int id = 0; id < t->count; id++) {
        const struct at_node *n = at_graph_node(t->g, id);
        for (int i = 0; i < AT_ARITY; i++) {
            const struct at_node *x = n->in[i];
            if (x && x->op && !x->op->cheap && x->segment >= 0 && x->segment < r.segments && x->segment != n->segment)
                t->keep[x->id] = true;
        }
    }
}

// The forward node's value as the backward sees it: the node itself or a recomputed copy.
static struct at_node *value(struct tape *t, struct at_node *n)
{
    if (!n || n->id >= t->count || t->keep[n->id])
        return n;
    if (t->copy[n->id])
        return t->copy[n->id];
    struct at_node *in[AT_ARITY];
    for (int i = 0; i < AT_ARITY; i++)
        in[i] = value(t, n->in[i]);
    at_graph_scope(t->g, n->scope);
    at_graph_exact(t->g, n->exact);
    t->copy[n->id] = at_graph_append(t->g, n->op, in, AT_ARITY, &n->attr, &n->shape);
    at_graph_exact(t->g, true);
    return t->copy[n->id];
}

static void collect(struct tape *t, struct at_node *n, struct at_node *dx)
{
    if (!n->op && n->grad) {
        struct at_node *sum = at_graph_leaf(t->g, n->name, n->shape, n->grad, NULL, n->offset);
        at_accumulate(t->g, sum, dx);
        return;
    }
    struct at_node **slot = &t->grad[n->id];
    *slot = *slot ? at_add(t->g, *slot, dx) : dx;
}

static bool step_back(struct tape *t, struct at_node *n)
{
    if (!n->op->backward) {
        at_graph_fail(t->g, "%s has no gradient", n->op->name);
        return false;
    }
    struct at_backward b = {.g = t->g, .node = n, .dy = t->grad[n->id]};
    for (int i = 0; i < AT_ARITY; i++)
        b.need[i] = n->in[i] && !(n->op->constant >> i & 1) && t->needs[n->in[i]->id];
    // Copies that the backward does not use are dead, and the planner drops them.
    for (int i = 0; i < AT_ARITY; i++)
        b.in[i] = value(t, n->in[i]);
    b.y = value(t, n);
    if (!at_graph_ok(t->g))
        return false;
    char scope[512];
    snprintf(scope, sizeof(scope), "the gradient of %s", n->scope ? n->scope : n->op->name);
    at_graph_scope(t->g, scope);
    n->op->backward(&b);
    for (int i = 0; i < AT_ARITY; i++) {
        if (!b.need[i] || !at_graph_ok(t->g))
            continue;
        if (!b.dx[i] || !at_shape_equal(b.dx[i]->shape, n->in[i]->shape)) {
            at_graph_fail(t->g, "%s: its backward gives no gradient of the right shape for input %d", n->op->name, i);
            return false;
        }
        collect(t, n->in[i], b.dx[i]);
    }
    return at_graph_ok(t->g);
}

static bool run(struct tape *t, const struct at_gradient_params *p)
{
    for (int i = 0; i < p->seed_count; i++)
        if (t->needs[p->seeds[i].y->id])
            collect(t, p->seeds[i].y, p->seeds[i].dy);
    for (int id = t->count - 1; id >= 0; id--) {
        struct at_node *n = at_graph_node(t->g, id);
        if (n->op && t->needs[id] && t->grad[id] && !step_back(t, n))
            return false;
    }
    for (int i = 0; i < p->wrt_count; i++)
        p->dx[i] = t->grad[p->wrt[i]->id];
    return true;
}

bool at_graph_backward(struct at_graph *g, const struct at_gradient_params *p)
{
    if (!at_graph_ok(g))
        return false;
    int n = at_graph_count(g);
    struct tape t = {.g = g, .count = n};
    t.needs = at_calloc((size_t)n, sizeof(*t.needs));
    t.keep = at_calloc((size_t)n, sizeof(*t.keep));
    t.grad = at_calloc((size_t)n, sizeof(*t.grad));
    t.copy = at_calloc((size_t)n, sizeof(*t.copy));
    bool ok = t.needs && t.keep && t.grad && t.copy;
    if (!ok)
        at_graph_fail(g, "out of memory while building the gradient");
    if (ok) {
        bool exact = at_graph_exact(g, true); // gradients have the range of f32, and need no loss scaling
        mark_needs(&t, p);
        mark_kept(&t, p->recompute);
        ok = run(&t, p) && at_graph_ok(g);
        at_graph_exact(g, exact);
    }
    at_free(t.needs);
    at_free(t.keep);
    at_free(t.grad);
    at_free(t.copy);
    return ok;
}
