// SPDX-License-Identifier: Apache-2.0
#include "core/graph/guard.h"

#include "core/ops/op.h"

bool at_guard_watches(const struct at_node *node)
{
    return node->dtype == AT_F32 && !node->op->alias;
}

bool at_guard_fail(struct at_log *log, const struct at_node *node)
{
    char shape[AT_SHAPE_TEXT];
    // A log belongs to one thread at a time.
#pragma omp critical(at_guard)
    at_fail(log, AT_ERROR_FAILED,
            "%s%s%s, %s: the first values that are not finite are made here; all it reads is finite, so that they "
            "overflow: weights, an adapter or a learning rate are too large", node->op->name,
            node->scope ? " in " : "", node->scope ? node->scope : "", at_shape_text(node->shape, shape));
    return false;
}
