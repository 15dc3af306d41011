// SPDX-License-Identifier: Apache-2.0
// Sums and norms. How work is cut into chunks follows from the shapes alone, so that a plan knows the scratch memory
// before the device does, and a result does not depend on the device's load.
#include "core/ops/lowering.h"

#include <assert.h>

#define CHUNK 16384     // elements of a chunk of a sum, at least
#define CHUNKS 1024     // chunks of a sample, at most
#define COLUMN_ROWS 128 // rows of a chunk of column sums, at least
#define COLUMN_CHUNKS 128
#define NORM_CHUNK 8192 // elements of a group's chunk, about

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// A kernel whose workgroups of `workgroup` invocations each take one of `items` at a time.
struct grouped {
    const char *kernel;
    const void *push;
    size_t push_size;
    int64_t items;
    uint32_t workgroup;
    uint32_t constants[4]; // 1, 2, ...
};

static bool dispatch(struct at_lower *l, const struct grouped *g)
{
    uint32_t constants[5] = {at_lower_workgroup(l, l->cpu && g->workgroup > 64 ? 64 : g->workgroup)};
    for (int i = 0; i < 4; i++)
        constants[i + 1] = g->constants[i];
    return at_lower_dispatch(l, &(struct at_lower_dispatch_params){.kernel = g->kernel,
                                                                   .constants = constants,
                                                                   .constant_count = 5,
                                                                   .push = g->push,
                                                                   .push_size = (uint32_t)g->push_size,
                                                                   .groups = (uint64_t)g->items});
}

// --- sums over samples ---------------------------------------------------------------------------------------------
struct reduce_push {
    uint64_t a, b, m, part, y;
    uint32_t samples, count, chunk, chunks, c;
    float scale;
};
static_assert(sizeof(struct reduce_push) == 64, "shaders/reduce.comp");

#define REDUCE_LAST 5 // the kind that adds up the chunks

static int64_t chunk_of(int64_t count)
{
    int64_t chunk = ceil_div(count, CHUNKS);
    return chunk > CHUNK ? chunk : CHUNK;
}

size_t at_lower_sum_scratch(int64_t samples, int64_t count, bool masked)
{
    return (size_t)(samples * ceil_div(count, chunk_of(count))) * (masked ? 8 : 4);
}

bool at_lower_sum(struct at_lower *l, const struct at_lower_sum *sum)
{
    uint32_t chunk = (uint32_t)chunk_of(sum->count), chunks = (uint32_t)ceil_div(sum->count, chunk);
    bool masked = sum->kind == AT_SUM_MASKED;
    struct reduce_push push = {.a = sum->a,
                               .b = sum->b,
                               .m = sum->m,
                               .part = sum->scratch,
                               .y = sum->y,
                               .samples = sum->samples,
                               .count = sum->count,
                               .chunk = chunk,
                               .chunks = chunks,
                               .c = sum->c ? sum->c : 1,
                               .scale = sum->scale};
    struct grouped first = {
        "reduce_f32", &push, sizeof(push), (int64_t)sum->samples * chunks, 256, {masked, (uint32_t)sum->kind}};
    struct grouped last = {"reduce_f32",         &push, sizeof(push), sum->samples, chunks > 64 ? 256 : 64,
                           {masked, REDUCE_LAST}};
    if (!dispatch(l, &first))
        return false;
    at_lower_barrier(l);
    return dispatch(l, &last);
}

// --- column sums ---------------------------------------------------------------------------------------------------
struct sum_rows_push {
    uint64_t x, z, stats, gamma, beta, y;
    uint32_t outer, middle, c, chunks, hw, groups, width, pad;
};
static_assert(sizeof(struct sum_rows_push) == 80, "shaders/sum_rows.comp");

enum { COLUMNS_PLAIN, COLUMNS_NORM };

static int64_t column_chunks(int64_t middle)
{
    return smaller(ceil_div(middle, COLUMN_ROWS), COLUMN_CHUNKS);
}

static bool dispatch_columns(struct at_lower *l, const struct sum_rows_push *push, uint32_t kind, int act)
{
    uint32_t lanes = 1, workgroup = at_lower_workgroup(l, l->cpu ? 64 : 256);
    while (lanes < 32 && lanes < push->c && lanes < workgroup)
        lanes *= 2;
    int64_t items = (int64_t)push->outer * push->chunks * ceil_div(push->c, lanes);
    return dispatch(
        l, &(struct grouped){"sum_rows_f32", push, sizeof(*push), items, workgroup, {lanes, kind, (uint32_t)act}});
}

size_t at_lower_columns_scratch(int64_t outer, int64_t middle, int64_t c)
{
    int64_t chunks = column_chunks(middle);
    return chunks > 1 ? (size_t)(outer * chunks * c) * 4 : 0;
}

bool at_lower_columns(struct at_lower *l, const struct at_lower_columns *columns)
{
    uint32_t chunks = (uint32_t)column_chunks(columns->middle);
    struct sum_rows_push push = {.x = columns->x,
                                 .y = chunks > 1 ? columns->scratch : columns->y,
                                 .outer = columns->outer,
                                 .middle = columns->middle,
                                 .c = columns->c,
                                 .chunks = chunks};
    if (!dispatch_columns(l, &push, COLUMNS_PLAIN, 0))
        return false;
    if (chunks == 1)
        return true;
    at_lower_barrier(l);
    push.x = columns->scratch;
    push.y = columns->y;
    push.middle = chunks;
    push.chunks = 1;
    return dispatch_columns(l, &push, COLUMNS_PLAIN, 0);
}

// --- norms ---------------------------------------------------------------------------------------------------------
struct norm_stats_push {
    uint64_t x, gamma, dst;
    uint32_t n, hw, c, groups, width, rows, chunks;
    float eps;
};
static_assert(sizeof(struct norm_stats_push) == 56, "shaders/norm_stats.comp");

enum { STATS_CHUNK, STATS_MERGE, STATS_MEANS };

struct norm_apply_push {
    uint64_t x, dy, stats, sums, gamma, beta, y;
    uint32_t n, block, c, groups, width, pad;
};
static_assert(sizeof(struct norm_apply_push) == 80, "shaders/norm_apply.comp");

struct layer_norm_push {
    uint64_t x, dy, gamma, beta, y;
    uint32_t rows, c;
    float eps;
    uint32_t pad;
};
static_assert(sizeof(struct layer_norm_push) == 56, "shaders/layer_norm.comp");

// Rows of a chunk of a group.
static int64_t norm_rows(const struct at_lower_norm *norm)
{
    int64_t width = norm->c / norm->groups, rows = width < NORM_CHUNK ? NORM_CHUNK / width : 1;
    return smaller(rows, norm->hw);
}

size_t at_lower_norm_stats_bytes(const struct at_lower_norm *norm)
{
    return (size_t)(norm->n * norm->groups) * 8;
}

size_t at_lower_norm_scratch(const struct at_lower_norm *norm)
{
    return (size_t)ceil_div(norm->hw, norm_rows(norm)) * at_lower_norm_stats_bytes(norm);
}

static struct norm_stats_push stats_push(const struct at_lower_norm *norm)
{
    int64_t rows = norm_rows(norm);
    return (struct norm_stats_push){.x = norm->x,
                                    .gamma = norm->gamma,
                                    .dst = norm->stats,
                                    .n = (uint32_t)norm->n,
                                    .hw = (uint32_t)norm->hw,
                                    .c = (uint32_t)norm->c,
                                    .groups = (uint32_t)norm->groups,
                                    .width = (uint32_t)(norm->c / norm->groups),
                                    .rows = (uint32_t)rows,
                                    .chunks = (uint32_t)ceil_div(norm->hw, rows),
                                    .eps = norm->eps};
}

// A workgroup an item; constants 1, 2, 3 of the shader.
static bool dispatch_stats(struct at_lower *l, const struct norm_stats_push *push, int64_t items, uint32_t workgroup,
                           bool wide, uint32_t kind, bool final)
{
    return dispatch(
        l, &(struct grouped){"norm_stats_f32", push, sizeof(*push), items, workgroup, {wide, kind, final, 0}});
}

bool at_lower_norm_stats(struct at_lower *l, const struct at_lower_norm *norm)
{
    struct norm_stats_push push = stats_push(norm);
    bool wide = push.width % 4 == 0 && at_lower_wide(norm->x), whole = push.chunks == 1;
    if (!whole)
        push.dst = norm->scratch;
    if (!dispatch_stats(l, &push, norm->n * norm->groups * push.chunks, push.rows * push.width > 1024 ? 256 : 64, wide,
                        STATS_CHUNK, whole))
        return false;
    at_lower_barrier(l);
    if (whole)
        return true;
    push.x = norm->scratch;
    push.dst = norm->stats;
    if (!dispatch_stats(l, &push, norm->n * norm->groups, 64, false, STATS_MERGE, true))
        return false;
    at_lower_barrier(l);
    return true;
}

bool at_lower_group_norm(struct at_lower *l, const struct at_lower_norm *norm)
{
    if (norm->dy) {
        struct norm_stats_push means = stats_push(norm);
        means.x = norm->sums;
        means.dst = norm->scratch;
        if (!dispatch_stats(l, &means, norm->n * norm->groups, 64, false, STATS_MEANS, true))
            return false;
        at_lower_barrier(l);
    }
    int64_t width = norm->c / norm->groups, count = norm->n * norm->hw * norm->c;
    struct norm_apply_push push = {.x = norm->x,
                                   .dy = norm->dy,
                                   .stats = norm->stats,
                                   .sums = norm->scratch,
                                   .gamma = norm->gamma,
                                   .beta = norm->beta,
                                   .y = norm->y,
                                   .n = (uint32_t)count,
                                   .block = (uint32_t)(norm->hw * norm->c),
                                   .c = (uint32_t)norm->c,
                                   .groups = (uint32_t)norm->groups,
                                   .width = (uint32_t)width};
    bool wide = width % 4 == 0 && at_lower_wide(push.x | push.dy | push.gamma | push.beta | push.y);
    uint32_t constants[] = {at_lower_workgroup(l, 256), wide, norm->dy != 0, (uint32_t)norm->act};
    return at_lower_dispatch(
        l, &(struct at_lower_dispatch_params){.kernel = "norm_apply_f32",
                                              .constants = constants,
                                              .constant_count = 4,
                                              .push = &push,
                                              .push_size = sizeof(push),
                                              .groups = at_lower_line(l, (uint64_t)count, wide ? 4 : 1)});
}

// y (outer, 2, c): sums over the rest of n hw rows. scratch: as norm_columns_scratch.
static bool norm_columns(struct at_lower *l, const struct at_lower_norm *norm, int64_t outer, uint64_t scratch)
{
    int64_t middle = norm->n * norm->hw / outer;
    struct sum_rows_push push = {.x = norm->dy,
                                 .z = norm->x,
                                 .stats = norm->stats,
                                 .gamma = norm->gamma,
                                 .beta = norm->beta,
                                 .y = scratch,
                                 .outer = (uint32_t)outer,
                                 .middle = (uint32_t)middle,
                                 .c = (uint32_t)norm->c,
                                 .chunks = (uint32_t)column_chunks(middle),
                                 .hw = (uint32_t)norm->hw,
                                 .groups = (uint32_t)norm->groups,
                                 .width = (uint32_t)(norm->c / norm->groups)};
    if (push.chunks == 1)
        push.y = norm->y;
    if (!dispatch_columns(l, &push, COLUMNS_NORM, norm->act))
        return false;
    if (push.chunks == 1)
        return true;
    at_lower_barrier(l);
    struct sum_rows_push last = {.x = scratch,
                                 .y = norm->y,
                                 .outer = (uint32_t)outer,
                                 .middle = push.chunks,
                                 .c = (uint32_t)(2 * norm->c),
                                 .chunks = 1};
    return dispatch_columns(l, &last, COLUMNS_PLAIN, 0);
}

static size_t norm_columns_scratch(const struct at_lower_norm *norm, int64_t outer)
{
    return at_lower_columns_scratch(outer, norm->n * norm->hw / outer, 2 * norm->c);
}

size_t at_lower_norm_sums_scratch(const struct at_lower_norm *norm)
{
    return norm_columns_scratch(norm, norm->n);
}

bool at_lower_norm_sums(struct at_lower *l, const struct at_lower_norm *norm)
{
    return norm_columns(l, norm, norm->n, norm->scratch);
}

// stats, then what making them needs (a chunk each) or the sums of chunks of rows.
size_t at_lower_layer_norm_dw_scratch(const struct at_lower_norm *norm)
{
    size_t columns = norm_columns_scratch(norm, 1), stats = at_lower_norm_scratch(norm);
    return at_lower_norm_stats_bytes(norm) + (columns > stats ? columns : stats);
}

bool at_lower_layer_norm_dw(struct at_lower *l, const struct at_lower_norm *norm)
{
    struct at_lower_norm inner = *norm;
    inner.stats = norm->scratch;
    inner.scratch = norm->scratch + at_lower_norm_stats_bytes(norm);
    return at_lower_norm_stats(l, &inner) && norm_columns(l, &inner, 1, inner.scratch);
}

bool at_lower_layer_norm(struct at_lower *l, const struct at_lower_norm *norm)
{
    struct layer_norm_push push = {.x = norm->x,
                                   .dy = norm->dy,
                                   .gamma = norm->gamma,
                                   .beta = norm->beta,
                                   .y = norm->y,
                                   .rows = (uint32_t)norm->n,
                                   .c = (uint32_t)norm->c,
                                   .eps = norm->eps};
    bool wide = push.c % 4 == 0 && at_lower_wide(push.x | push.dy | push.gamma | push.beta | push.y);
    uint32_t workgroup = 32;
    while (workgroup < 256 && workgroup * (wide ? 8 : 2) < push.c)
        workgroup *= 2;
    return dispatch(
        l, &(struct grouped){"layer_norm_f32", &push, sizeof(push), norm->n, workgroup, {wide, norm->dy != 0}});
}
