// SPDX-License-Identifier: Apache-2.0
// The Vulkan kernels that several ops share, each with the call that dispatches it.
#ifndef CORE_OPS_LOWERING_H
#define CORE_OPS_LOWERING_H

#include "core/vulkan/lower.h"

// --- shaders/elementwise.comp: y[i] = f(a[i], b[i]) ---------------------------------------------------------------------
enum at_map {
    AT_MAP_ADD,     // a + b
    AT_MAP_MUL,     // a b
    AT_MAP_SCALE,   // p a + q
    AT_MAP_FILL,    // p
    AT_MAP_ACT,     // act(a)
    AT_MAP_ACT_BWD, // a act'(b)
    AT_MAP_LERP,    // a + (1 - scalars[0]) (b - a)
};
struct at_lower_map {
    enum at_map kind;
    int act; // enum at_act
    uint64_t a, b, y, scalars;
    uint32_t n;
    float p, q;
};
AT_NODISCARD bool at_lower_elementwise(struct at_lower *l, const struct at_lower_map *map);

#endif
