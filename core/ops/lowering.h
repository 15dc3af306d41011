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

// --- the others: each struct is the kernel's push constants, explained in shaders/<name>.comp ----------------------------
// y = x + b[outer] or x b[outer]; x (outer, middle, C).
struct at_broadcast {
    uint64_t x, b, y;
    uint32_t n, block, c, pad;
};
enum at_broadcast_kind { AT_BROADCAST_ADD, AT_BROADCAST_MUL };
AT_NODISCARD bool at_lower_broadcast(struct at_lower *l, enum at_broadcast_kind kind, const struct at_broadcast *push);

// Channels of a (rows, from), of b, and zeros to y (rows, c). b 0: absent.
struct at_channels {
    uint64_t a, b, y;
    uint32_t rows, c, from, first, lo, hi;
};
AT_NODISCARD bool at_lower_channels(struct at_lower *l, const struct at_channels *push);

// Rows of x by number.
struct at_gather {
    uint64_t x, ids, y;
    uint32_t rows, width, limit, stride;
};
enum at_gather_kind { AT_GATHER_READ, AT_GATHER_PLACE };
AT_NODISCARD bool at_lower_gather(struct at_lower *l, enum at_gather_kind kind, const struct at_gather *push);

// From a small image to a large one, or back.
AT_NODISCARD bool at_lower_upsample(struct at_lower *l, bool back);

// Neighbours' differences along attr.i[0].
AT_NODISCARD bool at_lower_diff(struct at_lower *l, bool back);

// Rows of two halves: m (rows, 2C), o and r (rows, C), n = rows C; `per` rows a sample.
struct at_halves {
    uint64_t m, o, r, y;
    uint32_t n, c, per, pad;
};
enum at_halves_kind { AT_HALVES_GEGLU, AT_HALVES_GEGLU_BWD, AT_HALVES_SAMPLE, AT_HALVES_SAMPLE_BWD, AT_HALVES_KL_BWD };
AT_NODISCARD bool at_lower_halves(struct at_lower *l, enum at_halves_kind kind, const struct at_halves *push);

// x: the gradient, or the weights.
struct at_adamw_push {
    uint64_t x, moments, scalars;
    uint32_t n, pad;
};
enum at_adamw_kind { AT_ADAMW_MOMENTS, AT_ADAMW_WEIGHTS };
AT_NODISCARD bool at_lower_adamw(struct at_lower *l, enum at_adamw_kind kind, const struct at_adamw_push *push);

#endif
