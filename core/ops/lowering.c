// SPDX-License-Identifier: Apache-2.0
#include "core/ops/lowering.h"

#include <assert.h>
#include <stdio.h>

// A kernel that strides over n elements, with constants 1 wide, 2 kind, 3 extra.
struct strided {
    const char *kernel;
    const void *push;
    size_t push_size;
    uint64_t n;
    bool wide; // four elements an invocation
    uint32_t kind, extra;
};

static bool dispatch(struct at_lower *l, const struct strided *s)
{
    uint32_t constants[] = {at_lower_workgroup(l, 256), s->wide, s->kind, s->extra};
    return at_lower_dispatch(l, &(struct at_lower_dispatch_params){.kernel = s->kernel,
                                                                   .constants = constants,
                                                                   .constant_count = 4,
                                                                   .push = s->push,
                                                                   .push_size = (uint32_t)s->push_size,
                                                                   .groups = at_lower_line(l, s->n, s->wide ? 4 : 1)});
}

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
    return dispatch(l, &(struct strided){.kernel = "elementwise_f32",
                                         .push = &push,
                                         .push_size = sizeof(push),
                                         .n = map->n,
                                         .wide = at_lower_wide(map->a | map->b | map->y),
                                         .kind = (uint32_t)map->kind,
                                         .extra = (uint32_t)map->act});
}

static_assert(sizeof(struct at_broadcast) == 40, "shaders/broadcast.comp");

bool at_lower_broadcast(struct at_lower *l, enum at_broadcast_kind kind, const struct at_broadcast *push)
{
    bool add = kind == AT_BROADCAST_ADD;
    bool wide = at_lower_wide(push->x | push->y | (add ? push->b : 0)) && (add ? push->c : push->block) % 4 == 0;
    return dispatch(l, &(struct strided){"broadcast_f32", push, sizeof(*push), push->n, wide, (uint32_t)kind, 0});
}

static_assert(sizeof(struct at_channels) == 48, "shaders/channels.comp");

bool at_lower_channels(struct at_lower *l, const struct at_channels *push)
{
    bool wide = at_lower_wide(push->a | push->b | push->y) &&
                (push->c | push->from | push->first | push->lo | push->hi) % 4 == 0;
    uint64_t n = (uint64_t)push->rows * push->c;
    return dispatch(l, &(struct strided){"channels_f32", push, sizeof(*push), n, wide, push->b != 0, 0});
}

static_assert(sizeof(struct at_gather) == 40, "shaders/gather.comp");

bool at_lower_copy(struct at_lower *l, const struct at_copy *push)
{
    bool wide = at_lower_wide(push->x | push->y);
    return dispatch(l, &(struct strided){"copy_f32", push, sizeof(*push), push->n, wide, 0, 0});
}

bool at_lower_gather(struct at_lower *l, enum at_gather_kind kind, enum at_dtype type, const struct at_gather *push)
{
    char name[64];
    snprintf(name, sizeof(name), "gather_%s", at_lower_weight(type));
    bool wide = at_lower_wide(push->x | push->y) && push->width % 4 == 0;
    uint64_t n = (uint64_t)push->rows * push->width;
    return dispatch(l, &(struct strided){name, push, sizeof(*push), n, wide, (uint32_t)kind, 0});
}

struct upsample_push {
    uint64_t x, y;
    uint32_t n, small_h, small_w, h, w, c;
};
static_assert(sizeof(struct upsample_push) == 40, "shaders/upsample.comp");

bool at_lower_upsample(struct at_lower *l, bool back)
{
    const int64_t *x = l->node->in[0]->shape.dim, *y = l->node->shape.dim;
    const int64_t *small = back ? y : x, *large = back ? x : y;
    if ((small[1] + 1) * large[1] > INT32_MAX || (small[2] + 1) * large[2] > INT32_MAX)
        return at_fail(l->log, AT_ERROR_FAILED, "images of %d and %d rows are too large for a Vulkan kernel",
                       (int)small[1], (int)large[1]);
    struct upsample_push push = {.x = l->in[0],
                                 .y = l->out,
                                 .n = (uint32_t)x[0],
                                 .small_h = (uint32_t)small[1],
                                 .small_w = (uint32_t)small[2],
                                 .h = (uint32_t)large[1],
                                 .w = (uint32_t)large[2],
                                 .c = (uint32_t)x[3]};
    bool wide = at_lower_wide(push.x | push.y) && push.c % 4 == 0;
    return dispatch(
        l, &(struct strided){"upsample_f32", &push, sizeof(push), at_lower_count(l->node->shape), wide, back, 0});
}

struct diff_push {
    uint64_t x, y;
    uint32_t n, block, inner, pad;
};
static_assert(sizeof(struct diff_push) == 32, "shaders/diff.comp");

bool at_lower_diff(struct at_lower *l, bool back)
{
    int axis = l->node->attr.i[0];
    const int64_t *y = l->node->shape.dim;
    uint32_t inner = (uint32_t)(axis == 1 ? y[2] * y[3] : y[3]), n = at_lower_count(l->node->shape);
    struct diff_push push = {l->in[0], l->out, n, (uint32_t)y[axis] * inner, inner, 0};
    return dispatch(l, &(struct strided){"diff_f32", &push, sizeof(push), n, false, back, 0});
}

static_assert(sizeof(struct at_halves) == 48, "shaders/halves.comp");

bool at_lower_halves(struct at_lower *l, enum at_halves_kind kind, const struct at_halves *push)
{
    uint64_t o = kind == AT_HALVES_KL_BWD ? 0 : push->o; // one value a sample is not read wide
    bool wide = at_lower_wide(push->m | o | push->r | push->y) && push->c % 4 == 0;
    return dispatch(l, &(struct strided){"halves_f32", push, sizeof(*push), push->n, wide, (uint32_t)kind, 0});
}

static_assert(sizeof(struct at_adamw_push) == 32, "shaders/adamw.comp");

bool at_lower_adamw(struct at_lower *l, enum at_adamw_kind kind, const struct at_adamw_push *push)
{
    bool wide = at_lower_wide(push->x | push->moments) && push->n % 4 == 0;
    return dispatch(l, &(struct strided){"adamw_f32", push, sizeof(*push), push->n, wide, (uint32_t)kind, 0});
}

static_assert(sizeof(struct at_err_bwd) == 64, "shaders/err_bwd.comp");

bool at_lower_err_bwd(struct at_lower *l, enum at_err_bwd_kind kind, const struct at_err_bwd *push)
{
    uint32_t block = kind == AT_ERR_BWD_MASKED ? push->c : push->count;
    bool wide = at_lower_wide(push->y | push->t | push->z) && block % 4 == 0;
    return dispatch(l, &(struct strided){"err_bwd_f32", push, sizeof(*push), push->n, wide, (uint32_t)kind, 0});
}
