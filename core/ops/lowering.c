// SPDX-License-Identifier: Apache-2.0
#include "core/ops/lowering.h"

#include <assert.h>

struct elementwise_push {
    uint64_t a, b, y, scalars;
    uint32_t n;
    float p, q;
    uint32_t pad;
};
static_assert(sizeof(struct elementwise_push) == 48, "shaders/elementwise.comp");

bool at_lower_elementwise(struct at_lower *l, const struct at_lower_map *map)
{
    struct elementwise_push push = {map->a, map->b, map->y, map->scalars, map->n, map->p, map->q, 0};
    bool wide = at_lower_wide(map->a | map->b | map->y);
    uint32_t constants[] = {at_lower_workgroup(l, 256), wide, (uint32_t)map->kind, (uint32_t)map->act};
    return at_lower_dispatch(l, &(struct at_lower_dispatch_params){.kernel = "elementwise_f32",
                                                                   .constants = constants,
                                                                   .constant_count = 4,
                                                                   .push = &push,
                                                                   .push_size = sizeof(push),
                                                                   .groups = at_lower_line(l, map->n, wide ? 4 : 1)});
}
