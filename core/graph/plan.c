// SPDX-License-Identifier: Apache-2.0
// Packing is greedy by size (Pisarchyk & Lee 2020): the largest tensor first, each at the lowest offset that is free
// for its whole life.
#include "core/graph/plan.h"

#include "core/base/alloc.h"
#include "core/ops/op.h"

#include <stdlib.h>

// A piece of arena memory and the steps during which it is taken, both ends included.
struct block {
    size_t bytes, offset;
    int begin, end, chunk, id;
};

struct planner {
    const struct at_graph *g;
    struct at_plan *plan;
    struct at_plan_params params;
    int *root;     // the node whose memory a node lives in
    size_t *delta; // and the bytes into it
    int *begin, *end; // life of a root, in steps
    bool *fixed;   // the root must not be overwritten by another node: a leaf of a store, an output
    int *step;     // of a node
    struct block *blocks;
    int block_count;
};

static size_t element_size(const struct planner *p, const struct at_node *n)
{
    return at_dtype_size(n->dtype, p->params.real_size);
}

static size_t node_bytes(const struct planner *p, const struct at_node *n)
{
    size_t bytes = (size_t)at_shape_count(n->shape) * element_size(p, n);
    return (bytes + AT_PLAN_ALIGN - 1) & ~(size_t)(AT_PLAN_ALIGN - 1);
}

void at_graph_live(const struct at_graph *g, bool *live)
{
    for (int id = at_graph_count(g) - 1; id >= 0; id--) {
        const struct at_node *n = at_graph_node(g, id);
        const struct at_node *target = n->update >= 0 ? n->in[n->update] : NULL;
        while (target && target->op && target->op->alias)
            target = target->in[0];
        if (n->output || (target && target->store))
            live[id] = true;
        for (int i = 0; live[id] && i < AT_ARITY; i++)
            if (n->in[i])
                live[n->in[i]->id] = true;
    }
}

static bool order(struct planner *p)
{
    struct at_plan *plan = p->plan;
    int n = at_graph_count(p->g);
    for (int id = 0, phase = 0; id < n; id++) {
        const struct at_node *node = at_graph_node(p->g, id);
        for (; phase < node->phase; phase++)
            plan->phase_end[phase] = plan->count;
        p->step[id] = plan->count;
        if (!plan->live[id] || !node->op)
            continue;
        plan->flops[node->phase] += node->op->cost(node).flops;
        plan->steps[plan->count++].node = node;
    }
    for (int phase = at_graph_phases(p->g) - 1; phase < AT_PHASES; phase++)
        plan->phase_end[phase] = plan->count;
    return true;
}

// A step that reads a node keeps the memory it lives in.
static void extend_lives(struct planner *p, const struct at_node *n, int step)
{
    for (int i = 0; i < AT_ARITY; i++) {
        if (!n->in[i])
            continue;
        int r = p->root[n->in[i]->id];
        if (p->end[r] < step)
            p->end[r] = step;
    }
}

// Last direct use of every node, so that in-place decisions can look ahead.
static void last_uses(const struct planner *p, int *last)
{
    for (int id = 0; id < at_graph_count(p->g); id++)
        last[id] = -1;
    for (int s = 0; s < p->plan->count; s++)
        for (int i = 0; i < AT_ARITY; i++)
            if (p->plan->steps[s].node->in[i])
                last[p->plan->steps[s].node->in[i]->id] = s;
}

// Merges node n into the memory of its input x.
static void join(struct planner *p, const struct at_node *n, const struct at_node *x, size_t delta)
{
    p->root[n->id] = p->root[x->id];
    p->delta[n->id] = p->delta[x->id] + delta;
}

static bool can_overwrite(const struct planner *p, const struct at_node *n, int i, int step, const int *group_last)
{
    const struct at_node *x = n->in[i];
    if (p->params.no_inplace || !x || !(n->op->inplace >> i & 1) || x->dtype != n->dtype ||
        at_shape_count(x->shape) != at_shape_count(n->shape))
        return false;
    int r = p->root[x->id];
    const struct at_node *root = at_graph_node(p->g, r);
    return !p->fixed[r] && group_last[r] <= step && p->delta[x->id] == 0 &&
           node_bytes(p, root) == node_bytes(p, n);
}

// Decides who lives in whose memory.
static bool share_memory(struct planner *p)
{
    int n = at_graph_count(p->g);
    int *last = at_calloc((size_t)n, sizeof(*last)), *group_last = at_calloc((size_t)n, sizeof(*group_last));
    if (!last || !group_last) {
        at_free(last);
        at_free(group_last);
        return false;
    }
    last_uses(p, last);
    for (int id = 0; id < n; id++) {
        const struct at_node *node = at_graph_node(p->g, id);
        p->root[id] = id;
        if (!p->plan->live[id])
            continue;
        if (node->op && node->op->alias)
            join(p, node, node->in[0],
                 (size_t)((int64_t)node->attr.i[1] << 31 | node->attr.i[0]) * element_size(p, node));
        else if (node->update >= 0)
            join(p, node, node->in[node->update], 0);
        else if (node->op)
            for (int i = 0; i < AT_ARITY && p->root[id] == id; i++)
                if (can_overwrite(p, node, i, p->step[id], group_last))
                    join(p, node, node->in[i], 0);
        int r = p->root[id];
        p->fixed[r] = p->fixed[r] || node->output || node->store;
        group_last[r] = group_last[r] > last[id] ? group_last[r] : last[id];
        if (r == id)
            group_last[r] = last[id];
    }
    at_free(last);
    at_free(group_last);
    return true;
}

static void add_block(struct planner *p, size_t bytes, int begin, int end, int id)
{
    p->blocks[p->block_count++] = (struct block){.bytes = bytes, .begin = begin, .end = end, .id = id};
}

// One block for each root that lives in the arena, and one for each step's scratch (id = -1 - step).
static void collect_blocks(struct planner *p)
{
    struct at_plan *plan = p->plan;
    int n = at_graph_count(p->g);
    for (int id = 0; id < n; id++) {
        const struct at_node *node = at_graph_node(p->g, id);
        int phase_start = node->phase ? plan->phase_end[node->phase - 1] : 0;
        p->begin[id] = node->op ? p->step[id] : phase_start;
        p->end[id] = p->begin[id];
    }
    for (int s = 0; s < plan->count; s++)
        extend_lives(p, plan->steps[s].node, s);
    for (int id = 0; id < n; id++)
        if (plan->live[id] && at_graph_node(p->g, id)->output)
            p->end[p->root[id]] = plan->count;
    for (int id = 0; id < n; id++) {
        const struct at_node *node = at_graph_node(p->g, id);
        if (plan->live[id] && p->root[id] == id && !node->store)
            add_block(p, node_bytes(p, node), p->begin[id], p->end[id], id);
    }
    for (int s = 0; s < plan->count; s++) {
        size_t bytes = p->params.scratch ? p->params.scratch(p->params.priv, plan->steps[s].node) : 0;
        plan->steps[s].scratch_bytes = bytes;
        if (bytes)
            add_block(p, (bytes + AT_PLAN_ALIGN - 1) & ~(size_t)(AT_PLAN_ALIGN - 1), s, s, -1 - s);
    }
}

static int by_size(const void *a, const void *b)
{
    const struct block *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

// Lowest offset in `chunk` where b fits beside the placed blocks, which are sorted by offset.
static size_t lowest_offset(const struct block *const *placed, int count, const struct block *b, int chunk)
{
    size_t offset = 0;
    for (int i = 0; i < count; i++) {
        const struct block *q = placed[i];
        if (q->chunk != chunk || q->end < b->begin || b->end < q->begin)
            continue;
        if (q->offset >= offset + b->bytes)
            break;
        if (q->offset + q->bytes > offset)
            offset = q->offset + q->bytes;
    }
    return offset;
}

static bool add_chunk(struct at_plan *plan)
{
    size_t *grown = at_realloc(plan->chunk_bytes, (size_t)plan->chunks + 1, sizeof(*grown));
    if (!grown)
        return false;
    plan->chunk_bytes = grown;
    plan->chunk_bytes[plan->chunks++] = 0;
    return true;
}

static bool pack(struct planner *p)
{
    struct at_plan *plan = p->plan;
    size_t limit = p->params.max_chunk ? p->params.max_chunk : SIZE_MAX;
    struct at_log *log = at_graph_log(p->g);
    const struct block **placed = at_calloc((size_t)p->block_count, sizeof(*placed));
    if (!placed)
        return at_fail_memory(log, (size_t)p->block_count * sizeof(*placed));
    qsort(p->blocks, (size_t)p->block_count, sizeof(*p->blocks), by_size);
    bool ok = true;
    for (int i = 0; ok && i < p->block_count; i++) {
        struct block *b = &p->blocks[i];
        if (b->bytes > limit) {
            ok = at_fail(log, AT_ERROR_DEVICE,
                         "one tensor needs %.1f MiB, but the device allocates at most %.1f MiB at once: "
                         "use a smaller batch or image size",
                         (double)b->bytes / (1 << 20), (double)limit / (1 << 20));
            break;
        }
        for (b->chunk = 0;; b->chunk++) {
            if (b->chunk == plan->chunks && !(ok = add_chunk(plan)))
                break;
            b->offset = lowest_offset(placed, i, b, b->chunk);
            if (b->offset + b->bytes <= limit)
                break;
        }
        if (!ok)
            break;
        if (plan->chunk_bytes[b->chunk] < b->offset + b->bytes)
            plan->chunk_bytes[b->chunk] = b->offset + b->bytes;
        int at = i;
        for (; at > 0 && placed[at - 1]->offset > b->offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = b;
    }
    at_free(placed);
    return ok;
}

static void set_places(struct planner *p)
{
    struct at_plan *plan = p->plan;
    for (int i = 0; i < p->block_count; i++) {
        const struct block *b = &p->blocks[i];
        struct at_place place = {.chunk = b->chunk, .offset = b->offset};
        if (b->id < 0)
            plan->steps[-1 - b->id].scratch = place;
        else
            plan->place[b->id] = place;
    }
    for (int id = 0; id < at_graph_count(p->g); id++) {
        const struct at_node *node = at_graph_node(p->g, id);
        if (node->store)
            plan->place[id] = (struct at_place){.store = node->store,
                                                .offset = (size_t)node->offset * element_size(p, node)};
        if (p->root[id] == id)
            continue;
        plan->place[id] = plan->place[p->root[id]];
        plan->place[id].offset += p->delta[id];
    }
    for (int c = 0; c < plan->chunks; c++)
        plan->arena_bytes += plan->chunk_bytes[c];
}

static bool make(struct planner *p)
{
    struct at_plan *plan = p->plan;
    at_graph_live(p->g, plan->live);
    if (!order(p) || !share_memory(p))
        return false;
    collect_blocks(p);
    if (!pack(p))
        return false;
    set_places(p);
    return true;
}

struct at_plan *at_plan_create(const struct at_graph *g, const struct at_plan_params *params)
{
    size_t n = (size_t)at_graph_count(g);
    struct planner p = {.g = g, .params = *params};
    p.params.real_size = params->real_size ? params->real_size : 4;
    struct at_plan *plan = p.plan = at_calloc(1, sizeof(*plan));
    if (plan) {
        plan->graph = g;
        plan->real_size = p.params.real_size;
        plan->steps = at_calloc(n, sizeof(*plan->steps));
        plan->place = at_calloc(n, sizeof(*plan->place));
        plan->live = at_calloc(n, sizeof(*plan->live));
    }
    p.root = at_calloc(n, sizeof(*p.root));
    p.delta = at_calloc(n, sizeof(*p.delta));
    p.begin = at_calloc(n, sizeof(*p.begin));
    p.end = at_calloc(n, sizeof(*p.end));
    p.fixed = at_calloc(n, sizeof(*p.fixed));
    p.step = at_calloc(n, sizeof(*p.step));
    p.blocks = at_calloc(2 * n, sizeof(*p.blocks));
    bool memory = plan && plan->steps && plan->place && plan->live && p.root && p.delta && p.begin && p.end &&
                  p.fixed && p.step && p.blocks;
    if (!memory)
        at_fail_memory(at_graph_log(g), n * 64);
    bool ok = memory && make(&p);
    at_free(p.root);
    at_free(p.delta);
    at_free(p.begin);
    at_free(p.end);
    at_free(p.fixed);
    at_free(p.step);
    at_free(p.blocks);
    if (!ok)
        at_plan_destroy(&plan);
    return plan;
}

void at_plan_destroy(struct at_plan **plan)
{
    if (!*plan)
        return;
    at_free((*plan)->steps);
    at_free((*plan)->place);
    at_free((*plan)->live);
    at_free((*plan)->chunk_bytes);
    at_free(*plan);
    *plan = NULL;
}
