// SPDX-License-Identifier: Apache-2.0
#include "core/graph/guard.h"

#include "core/ops/op.h"

bool at_guard_watches(const struct at_node *node)
{
    bool activation = node->dtype == AT_F16 && node->op->halves & AT_HALVES_Y;
    return (node->dtype == AT_F32 || activation) && !node->op->alias;
}

bool at_guard_fail(struct at_log *log, const struct at_node *node)
{
    char shape[AT_SHAPE_TEXT];
    const char *cause = node->dtype == AT_F16 ? "f16 holds up to 65504: --activations f32 keeps them in range, or"
                                              : "so that they overflow:";
    // A log belongs to one thread at a time.
#pragma omp critical(at_guard)
    at_fail(log, AT_ERROR_FAILED,
            "%s%s%s, %s: the first values that are not finite are made here; all it reads is finite, %s "
            "weights, an adapter or a learning rate are too large", node->op->name,
            node->scope ? " in " : "", node->scope ? node->scope : "", at_shape_text(node->shape, shape), cause);
    return false;
}
