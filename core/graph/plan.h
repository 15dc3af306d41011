// SPDX-License-Identifier: Apache-2.0
// The memory plan: which nodes run, in which order, and where every tensor lies. It is exact and device-independent, so
// the peak is known before a byte is allocated.
#ifndef CORE_GRAPH_PLAN_H
#define CORE_GRAPH_PLAN_H

#include "core/graph/graph.h"

#include <stddef.h>

#define AT_PLAN_ALIGN 256 // of every tensor, in bytes

// Where a tensor lies: in a store, or in chunk `chunk` of the arena. `offset` is in bytes of the plan's real type.
struct at_place {
    struct at_store *store; // NULL: the arena
    int chunk;
    size_t offset;
};

struct at_step {
    const struct at_node *node;
    struct at_place scratch;
    size_t scratch_bytes; // 0: none
};

struct at_plan {
    const struct at_graph *graph;
    struct at_step *steps;
    int count;
    int phase_end[AT_PHASES]; // steps [phase_end[p-1], phase_end[p]) are phase p
    struct at_place *place;   // by node id; meaningful for live nodes
    bool *live;               // by node id
    size_t real_size;
    size_t *chunk_bytes;
    int chunks;
    size_t arena_bytes; // sum over the chunks
    double flops[AT_PHASES];
};

struct at_plan_params {
    size_t real_size; // 4; 8 for the oracle; 0: 4
    size_t max_chunk; // largest allocation of the device; 0: no limit
    // Scratch bytes of a node on the device. NULL: none.
    size_t (*scratch)(const void *priv, const struct at_node *node);
    const void *priv;
    bool no_inplace; // every node gets memory of its own (for tests)
};

// live[id] of every node (zeroed by the caller): whether an output or an update of a store depends on it.
void at_graph_live(const struct at_graph *g, bool *live);

// Plans a finished graph (see fuse.h, to be run before). The graph must outlive the plan. NULL if out of memory, or if
// one tensor exceeds max_chunk.
struct at_plan *at_plan_create(const struct at_graph *g, const struct at_plan_params *params);
void at_plan_destroy(struct at_plan **plan);

#endif
