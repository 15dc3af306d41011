// SPDX-License-Identifier: Apache-2.0
// Tensors of a file under other names: nothing is copied, but where an order of values must change.
#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/io/safetensors_doc.h"

#include <inttypes.h>
#include <string.h>

struct at_safetensors *at_safetensors_view(struct at_safetensors *of)
{
    struct at_safetensors *view = at_st_create(of->log);
    if (view) {
        view->of = of;
        of->views++;
    }
    return view;
}

static bool fail_pick(const struct at_safetensors *view, const struct at_st_pick *p, const char *reason)
{
    return at_fail(view->log, AT_ERROR_INPUT, "%s: tensor \"%.200s\" %s", p->from->file, p->from->name, reason);
}

// Rows first .. first + rows - 1 of the slowest dimension.
static bool cut_rows(const struct at_safetensors *view, const struct at_st_pick *p, struct at_st_tensor *t,
                     uint64_t *shape)
{
    uint64_t all = t->rank ? t->shape[0] : 0;
    if (!p->rows)
        return true;
    if (p->first > all || p->rows > all - p->first)
        return fail_pick(view, p, "has too few rows");
    uint64_t row = t->bytes / all;
    if (row * all != t->bytes)
        return fail_pick(view, p, "has rows that are no whole bytes");
    t->data += p->first * row;
    t->bytes = p->rows * row;
    t->elements = t->elements / all * p->rows;
    shape[0] = p->rows;
    return true;
}

// A matrix (R,C) as (C,R), in memory of the view.
static bool transpose(struct at_safetensors *view, const struct at_st_pick *p, struct at_st_tensor *t, uint64_t *shape)
{
    size_t size = at_st_dtype_bits(t->dtype) / 8;
    if (t->rank != 2 || at_st_dtype_bits(t->dtype) % 8)
        return fail_pick(view, p, "is no matrix");
    uint64_t rows = shape[0], columns = shape[1];
    uint8_t *copy = at_arena_alloc(view->arena, (size_t)t->bytes + 1);
    if (!copy)
        return at_fail_memory(view->log, (size_t)t->bytes);
    for (uint64_t i = 0; i < rows; i++)
        for (uint64_t j = 0; j < columns; j++)
            memcpy(copy + (j * rows + i) * size, t->data + (i * columns + j) * size, size);
    t->data = copy;
    shape[0] = columns;
    shape[1] = rows;
    return true;
}

// Sizes of 1 at the end of a shape, more or fewer of them.
static bool set_rank(const struct at_safetensors *view, const struct at_st_pick *p, struct at_st_tensor *t,
                     uint64_t *shape)
{
    if (!p->rank || p->rank == t->rank)
        return true;
    for (int i = p->rank; i < t->rank; i++)
        if (shape[i] != 1)
            return fail_pick(view, p, "has a kernel larger than 1");
    for (int i = t->rank; i < p->rank; i++)
        shape[i] = 1;
    t->rank = p->rank;
    return true;
}

bool at_safetensors_view_add(struct at_safetensors *view, const struct at_st_pick *p)
{
    if (!at_grow((void **)&view->tensors, &view->capacity, view->count + 1, sizeof(*view->tensors)))
        return at_fail_memory(view->log, sizeof(*view->tensors));
    struct at_st_tensor *t = &view->tensors[view->count];
    *t = *p->from;
    int rank = t->rank > p->rank ? t->rank : p->rank;
    uint64_t *shape = at_arena_alloc(view->arena, ((size_t)rank + 1) * sizeof(*shape));
    const char *name = p->name ? at_arena_strf(view->arena, "%s", p->name) : t->name;
    if (!shape || !name)
        return at_fail_memory(view->log, ((size_t)rank + 1) * sizeof(*shape));
    if (t->rank)
        memcpy(shape, t->shape, (size_t)t->rank * sizeof(*shape));
    t->shape = shape;
    t->origin = strcmp(name, t->name) == 0 ? t->origin : t->name;
    t->name = name;
    if (!cut_rows(view, p, t, shape) || (p->transpose && !transpose(view, p, t, shape)) || !set_rank(view, p, t, shape))
        return false;
    view->count++;
    return true;
}

bool at_safetensors_view_end(struct at_safetensors *view)
{
    at_st_sort(view);
    for (size_t i = 1; i < view->count; i++) {
        const struct at_st_tensor *a = &view->tensors[i - 1], *b = &view->tensors[i];
        if (strcmp(a->name, b->name) == 0)
            return at_fail(view->log, AT_ERROR_INPUT, "%s: tensors \"%.200s\" and \"%.200s\" are both the weight %.200s; "
                           "the file mixes two layouts", a->file, at_st_origin(a), at_st_origin(b), a->name);
    }
    return true;
}

const char *at_st_origin(const struct at_st_tensor *t)
{
    return t->origin ? t->origin : t->name;
}
