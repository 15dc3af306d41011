// SPDX-License-Identifier: Apache-2.0
// The static graph: a model is a function that appends nodes for fixed shapes.
//
//     struct at_graph *g = at_graph_create(log);
//     struct at_node *x = at_graph_input(g, "x", AT_SHAPE(2, 8), AT_F32);
//     struct at_node *y = at_act(g, x, AT_ACT_SILU);
//     at_graph_output(g, y, "y");
//     if (at_graph_ok(g)) ...
//
// Errors stick: a failed call logs, marks the graph and returns NULL; calls that are given NULL do nothing and return
// NULL. So a model checks once, at the end, with at_graph_ok.
#ifndef CORE_GRAPH_GRAPH_H
#define CORE_GRAPH_GRAPH_H

#include "core/base/log.h"
#include "core/graph/tensor.h"

#define AT_ARITY 6  // inputs of a node
#define AT_PHASES 4 // runs of one plan that share its memory: forward, then backward

struct at_op;
struct at_store;

// The constants of a node. What an index means is stated where the op is declared (core/ops/build.h).
struct at_attr {
    int32_t i[8];
    float f[4];
};

struct at_node {
    int id;                      // position in the graph; inputs have smaller ones: a topological order
    const struct at_op *op;      // NULL: a leaf
    struct at_node *in[AT_ARITY]; // NULL where an optional input is absent
    struct at_attr attr;
    struct at_shape shape;
    enum at_dtype dtype;
    const char *name;            // leaves and outputs; else NULL
    const char *scope;           // the layer it belongs to, for messages; NULL: none
    int phase;                   // the run that computes it (an input: the run it must be written before)
    bool output;                 // the host may read it after its phase
    int update;                  // the input whose memory this node overwrites and becomes, or -1
    int segment;                 // the block it belongs to, for recomputation; -1: none
    // A leaf that lives outside the plan: element `offset` of a store, of the store's type. `grad` is the store of the
    // same layout that collects its gradient; NULL: frozen. Halves are
    // frozen, and begin at an even element.
    struct at_store *store, *grad;
    int64_t offset;
};

struct at_graph;

struct at_graph *at_graph_create(struct at_log *log);
void at_graph_destroy(struct at_graph **g);
bool at_graph_ok(const struct at_graph *g);
struct at_log *at_graph_log(const struct at_graph *g);
int at_graph_count(const struct at_graph *g);
struct at_node *at_graph_node(const struct at_graph *g, int id);
int at_graph_phases(const struct at_graph *g);

// A tensor that the host writes before every run of its phase. Its memory may be reused after its last use.
struct at_node *at_graph_input(struct at_graph *g, const char *name, struct at_shape shape, enum at_dtype dtype);
// A tensor at element `offset` of `store`; see struct at_node for `grad`.
struct at_node *at_graph_leaf(struct at_graph *g, const char *name, struct at_shape shape, struct at_store *store,
                              struct at_store *grad, int64_t offset);
// A node of `op`; inputs in[0 .. n-1], halves only where the op takes them. `shape` is used by ops whose shape does not follow from their inputs; else NULL.
struct at_node *at_graph_append(struct at_graph *g, const struct at_op *op, struct at_node *const *in, int n,
                                const struct at_attr *attr, const struct at_shape *shape);
// Nodes appended from now on belong to this layer ("" or NULL: none). The text is copied.
void at_graph_scope(struct at_graph *g, const char *scope);
// Marks a node to be read by the host. Returns it.
struct at_node *at_graph_output(struct at_graph *g, struct at_node *node, const char *name);
// Nodes appended from now on belong to the next phase.
void at_graph_next_phase(struct at_graph *g);
// Nodes appended between begin and end form a block that the planner may recompute as one. Blocks do not nest.
void at_graph_segment_begin(struct at_graph *g);
void at_graph_segment_end(struct at_graph *g);
int at_graph_segments(const struct at_graph *g);
// Marks the graph as failed, with a message. Returns NULL.
AT_PRINTF(2, 3) struct at_node *at_graph_fail(struct at_graph *g, const char *fmt, ...);

#endif
