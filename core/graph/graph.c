// SPDX-License-Identifier: Apache-2.0
#include "core/graph/graph.h"

#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/graph/device.h"
#include "core/ops/op.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct at_graph {
    struct at_log *log;
    struct at_arena *arena;
    struct at_node **nodes;
    size_t count, capacity;
    const char *scope;
    int phase, segment, segments;
    bool exact, failed;
};

struct at_graph *at_graph_create(struct at_log *log)
{
    struct at_graph *g = at_calloc(1, sizeof(*g));
    struct at_arena *arena = at_arena_create();
    if (!g || !arena) {
        at_fail_memory(log, sizeof(*g));
        at_free(g);
        at_arena_destroy(&arena);
        return NULL;
    }
    *g = (struct at_graph){.log = log, .arena = arena, .segment = -1};
    return g;
}

void at_graph_destroy(struct at_graph **g)
{
    if (!*g)
        return;
    at_arena_destroy(&(*g)->arena);
    at_free((*g)->nodes);
    at_free(*g);
    *g = NULL;
}

bool at_graph_ok(const struct at_graph *g)
{
    return !g->failed;
}

struct at_log *at_graph_log(const struct at_graph *g)
{
    return g->log;
}

int at_graph_count(const struct at_graph *g)
{
    return (int)g->count;
}

struct at_node *at_graph_node(const struct at_graph *g, int id)
{
    return g->nodes[id];
}

int at_graph_phases(const struct at_graph *g)
{
    return g->phase + 1;
}

struct at_node *at_graph_fail(struct at_graph *g, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    g->failed = true;
    at_fail(g->log, AT_ERROR_FAILED, "%s", text);
    return NULL;
}

static struct at_node *append(struct at_graph *g)
{
    struct at_node *n = at_arena_alloc(g->arena, sizeof(*n));
    if (!n || !at_grow((void **)&g->nodes, &g->capacity, g->count + 1, sizeof(*g->nodes))) {
        g->failed = true;
        at_fail_memory(g->log, sizeof(*n));
        return NULL;
    }
    *n = (struct at_node){
        .id = (int)g->count, .scope = g->scope, .phase = g->phase, .update = -1, .exact = g->exact,
        .segment = g->segment};
    g->nodes[g->count++] = n;
    return n;
}

void at_graph_scope(struct at_graph *g, const char *scope)
{
    if (scope && scope[0] && g->scope && strcmp(scope, g->scope) == 0)
        return;
    g->scope = NULL;
    if (scope && scope[0] && !(g->scope = at_arena_strf(g->arena, "%s", scope))) {
        g->failed = true;
        at_fail_memory(g->log, strlen(scope) + 1);
    }
}

bool at_graph_exact(struct at_graph *g, bool exact)
{
    bool was = g->exact;
    g->exact = exact;
    return was;
}

static struct at_node *leaf(struct at_graph *g, const char *name, struct at_shape shape, enum at_dtype dtype)
{
    for (int i = 0; i < shape.rank; i++)
        if (shape.dim[i] <= 0)
            return at_graph_fail(g, "%s: a dimension is not positive", name);
    struct at_node *n = append(g);
    if (!n)
        return NULL;
    n->name = at_arena_strf(g->arena, "%s", name);
    n->shape = shape;
    n->dtype = dtype;
    if (!n->name)
        g->failed = true;
    return n;
}

struct at_node *at_graph_input(struct at_graph *g, const char *name, struct at_shape shape, enum at_dtype dtype)
{
    return leaf(g, name, shape, dtype);
}

struct at_node *at_graph_leaf(struct at_graph *g, const char *name, struct at_shape shape, struct at_store *store,
                              struct at_store *grad, int64_t offset)
{
    enum at_dtype dtype = store ? store->dtype : AT_F32;
    if (grad && at_dtype_half(dtype))
        return at_graph_fail(g, "%s: a weight of %s cannot be trained, only one of f32", name, at_dtype_name(dtype));
    if (at_dtype_half(dtype) && offset % 2)
        return at_graph_fail(g, "%s: halves must begin at an even element", name);
    struct at_node *n = leaf(g, name, shape, dtype);
    if (n) {
        n->store = store;
        n->grad = grad;
        n->offset = offset;
    }
    return n;
}

struct at_node *at_graph_append(struct at_graph *g, const struct at_op *op, struct at_node *const *in, int count,
                                const struct at_attr *attr, const struct at_shape *shape)
{
    if (g->failed)
        return NULL;
    struct at_node *n = append(g);
    if (!n)
        return NULL;
    n->op = op;
    for (int i = 0; i < count; i++)
        n->in[i] = in[i];
    if (attr)
        n->attr = *attr;
    if (shape)
        n->shape = *shape;
    n->update = op->updates ? 0 : -1;
    for (int i = 0; i < op->required; i++)
        if (!n->in[i])
            return at_graph_fail(g, "%s: input %d is missing", op->name, i);
    for (int i = 0; i < count; i++)
        if (n->in[i] && at_dtype_half(n->in[i]->dtype) && !(op->half >> i & 1))
            return at_graph_fail(g, "%s: input %d%s%s is of %s, but must be of f32", op->name, i,
                                 n->in[i]->name ? ", " : "", n->in[i]->name ? n->in[i]->name : "",
                                 at_dtype_name(n->in[i]->dtype));
    char why[256] = "";
    if (op->infer(n, why, sizeof(why)))
        return n;
    char text[768];
    int used = snprintf(text, sizeof(text), "%s: %s; inputs", op->name, why);
    for (int i = 0; i < count && used < (int)sizeof(text); i++) {
        char s[AT_SHAPE_TEXT] = "none";
        used += snprintf(text + used, sizeof(text) - (size_t)used, " %s", in[i] ? at_shape_text(in[i]->shape, s) : s);
    }
    return at_graph_fail(g, "%s", text);
}

struct at_node *at_graph_output(struct at_graph *g, struct at_node *node, const char *name)
{
    if (!node)
        return NULL;
    node->output = true;
    node->name = at_arena_strf(g->arena, "%s", name);
    if (!node->name)
        g->failed = true;
    return node;
}

void at_graph_next_phase(struct at_graph *g)
{
    if (g->phase + 1 == AT_PHASES)
        at_graph_fail(g, "more than %d phases", AT_PHASES);
    else
        g->phase++;
}

void at_graph_segment_begin(struct at_graph *g)
{
    g->segment = g->segments++;
}

void at_graph_segment_end(struct at_graph *g)
{
    g->segment = -1;
}

int at_graph_segments(const struct at_graph *g)
{
    return g->segments;
}
