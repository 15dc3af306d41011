// SPDX-License-Identifier: Apache-2.0
// Activations in halves: where the device asks for it (struct at_device, `activations`), forward values lie in memory as
// f16, half as large and half as much to move. Arithmetic stays f32: a kernel widens what it reads and rounds what it
// writes, to nearest, ties to even; beyond 65504 that is infinite, which the guard finds (guard.h).
//
// In halves is what an op can write as halves and all its users can read so (struct at_op, `halves`), of rank 3 or 4,
// its last dimension a multiple of four. f32 stay: inputs, outputs, what updates a store, vectors of a sample, statistics,
// sums and losses, everything of the gradient, and whatever was appended under at_graph_exact.
#ifndef CORE_GRAPH_HALVE_H
#define CORE_GRAPH_HALVE_H

#include "core/graph/graph.h"

// Sets the type of these nodes to AT_F16, in a graph that is final, and fused. Returns how many there are, views not
// counted; -1 if out of memory, logged.
int at_graph_halve(struct at_graph *g);

#endif
