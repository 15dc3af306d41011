// SPDX-License-Identifier: Apache-2.0
// Fusion: a bias, an activation or a sum that follows a product becomes its epilogue, if nothing else reads the value
// in between. Accumulating a product into a leaf becomes a product that writes there.
#ifndef CORE_GRAPH_FUSE_H
#define CORE_GRAPH_FUSE_H

#include "core/graph/graph.h"

// Rewrites the graph in place, after its gradient has been appended and its outputs marked. Nodes keep their identity.
// Returns the number of nodes swallowed, or -1 (logged) without memory.
int at_graph_fuse(struct at_graph *g);

#endif
