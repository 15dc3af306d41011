// SPDX-License-Identifier: Apache-2.0
// The guard of a device: with `guard` set (device.h) every value that an op puts out is looked at, and a run stops at the
// first op with one that is not finite. What an op reads was looked at before, so its name is the cause's, not that of
// some layer long after. A device that is guarded runs slower; the results are the same.
#ifndef CORE_GRAPH_GUARD_H
#define CORE_GRAPH_GUARD_H

#include "core/graph/graph.h"

// Whether the guard looks at what a node puts out: new reals, of f32 or f16, and neither integers nor another shape of its input.
bool at_guard_watches(const struct at_node *node);
// Logs which layer, op and shape it is: "conv2d in down_blocks.0.resnets.1.conv1, (1,64,64,320): ...". Returns false.
// May be called by the threads of a team.
bool at_guard_fail(struct at_log *log, const struct at_node *node);

#endif
