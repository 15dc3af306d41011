// SPDX-License-Identifier: Apache-2.0
#include "core/graph/halve.h"

#include "core/base/alloc.h"
#include "core/graph/plan.h"
#include "core/ops/op.h"

// What is known of a node.
struct fact {
    int base;  // whose memory a view shows, else itself
    bool live;
    bool fours; // begins at a multiple of four elements
    bool half;  // can be halves; of a base
};

static bool is_view(const struct at_node *n)
{
    return n->op && n->op->alias;
}

static int64_t view_offset(const struct at_node *n)
{
    return n->attr.i[1] * (INT64_C(1) << 31) + n->attr.i[0];
}

// Whether every tensor that the node touches begins at a multiple of four, and it goes by fours.
static bool goes_by_fours(const struct at_node *n, const struct fact *facts)
{
    bool fours = !n->op->fours || n->op->fours(n);
    for (int i = 0; i < AT_ARITY; i++)
        fours = fours && (!n->in[i] || facts[n->in[i]->id].fours);
    return fours;
}

static bool can_write(const struct at_node *n, const struct fact *facts)
{
    return n->op && !is_view(n) && (n->op->halves & AT_HALVES_Y) && n->dtype == AT_F32 && !n->exact && n->update < 0 &&
           !n->output && n->shape.rank >= 3 && at_shape_last(n->shape) % 4 == 0 && goes_by_fours(n, facts);
}

// Those that can be written as halves, and where each tensor lies.
static void find_candidates(const struct at_graph *g, struct fact *facts)
{
    for (int id = 0; id < at_graph_count(g); id++) {
        const struct at_node *n = at_graph_node(g, id);
        struct fact *f = &facts[id];
        f->base = is_view(n) ? facts[n->in[0]->id].base : id;
        f->fours = is_view(n) ? facts[n->in[0]->id].fours && view_offset(n) % 4 == 0 : n->offset % 4 == 0;
        f->half = f->live && can_write(n, facts);
    }
}

// A view goes with its base, which it must not keep from being read by fours.
static void check_view(const struct at_node *n, struct fact *facts)
{
    if (n->output || n->exact || !facts[n->id].fours || at_shape_last(n->shape) % 4)
        facts[facts[n->id].base].half = false;
}

static void check_users(const struct at_graph *g, struct fact *facts)
{
    for (int id = 0; id < at_graph_count(g); id++) {
        const struct at_node *n = at_graph_node(g, id);
        if (!facts[id].live || !n->op)
            continue;
        if (is_view(n)) {
            check_view(n, facts);
            continue;
        }
        bool fours = goes_by_fours(n, facts);
        for (int i = 0; i < AT_ARITY; i++)
            if (n->in[i] && (n->update == i || !fours || !(n->op->halves >> i & 1)))
                facts[facts[n->in[i]->id].base].half = false;
    }
}

int at_graph_halve(struct at_graph *g)
{
    int n = at_graph_count(g), halved = 0;
    bool *live = at_calloc((size_t)n, sizeof(*live));
    struct fact *facts = at_calloc((size_t)n, sizeof(*facts));
    if (!live || !facts) {
        at_fail_memory(at_graph_log(g), (size_t)n * sizeof(*facts));
        halved = -1;
    } else {
        at_graph_live(g, live);
        for (int id = 0; id < n; id++)
            facts[id].live = live[id];
        find_candidates(g, facts);
        check_users(g, facts);
        for (int id = 0; id < n; id++)
            if (facts[id].live && facts[facts[id].base].half) {
                at_graph_node(g, id)->dtype = AT_F16;
                halved += facts[id].base == id;
            }
    }
    at_free(live);
    at_free(facts);
    return halved;
}
