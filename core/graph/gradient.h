// SPDX-License-Identifier: Apache-2.0
// Reverse-mode gradients as a graph transformation.
#ifndef CORE_GRAPH_GRADIENT_H
#define CORE_GRAPH_GRADIENT_H

#include "core/graph/graph.h"

// A node and the gradient of the loss with respect to it, of the same shape.
struct at_seed {
    struct at_node *y, *dy;
};

// Which forward values the gradient recomputes instead of keeping (gradient checkpointing, Chen et al. 2016).
struct at_recompute {
    bool cheap;   // outputs of cheap ops (norms, activations)
    int segments; // everything inside the first so many segments
};

struct at_gradient_params {
    const struct at_seed *seeds;
    int seed_count;
    // Nodes whose gradient is wanted as a node: dx[i] is set to it, or to NULL where no seed depends on wrt[i].
    struct at_node *const *wrt;
    struct at_node **dx;
    int wrt_count;
    struct at_recompute recompute;
};

// Appends the gradient to the current phase. Every leaf with a `grad` store that a seed depends on gets its gradient
// ADDED to that store. False if the graph failed, for example at an op that has no backward.
AT_NODISCARD bool at_graph_backward(struct at_graph *g, const struct at_gradient_params *params);

#endif
