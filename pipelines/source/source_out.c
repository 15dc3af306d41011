// SPDX-License-Identifier: Apache-2.0
#include "pipelines/source/source_out.h"

#include "core/base/alloc.h"
#include "core/base/half.h"

#include <string.h>

static bool is_float(enum at_st_dtype dtype)
{
    return dtype == AT_ST_F32 || dtype == AT_ST_F16 || dtype == AT_ST_BF16 || dtype == AT_ST_F64;
}

static bool add(struct at_outs *o, const struct at_out *out, const struct at_st_item *item)
{
    size_t rank = (size_t)item->rank, n = o->count;
    if (!o->arena)
        o->arena = at_arena_create();
    uint64_t *shape = o->arena ? at_arena_alloc(o->arena, (rank + 1) * sizeof(*shape)) : NULL;
    char *name = shape ? at_arena_strf(o->arena, "%s", item->name) : NULL;
    if (!name || !at_grow((void **)&o->list, &o->capacity, n + 1, sizeof(*o->list)) ||
        !at_grow((void **)&o->items, &o->item_capacity, n + 1, sizeof(*o->items)))
        return at_fail_memory(o->log, (rank + 1) * sizeof(*shape));
    uint64_t bytes = at_st_dtype_bits(item->dtype) / 8;
    for (size_t i = 0; i < rank; i++)
        bytes *= shape[i] = item->shape[i];
    o->list[n] = *out;
    o->items[n] = *item;
    o->items[n].name = name;
    o->items[n].shape = shape;
    o->count++;
    o->bytes += bytes;
    return true;
}

bool at_outs_add(struct at_outs *o, const struct at_out *out, const char *name, int rank, const uint64_t *shape)
{
    const struct at_source_write_params *p = o->p;
    enum at_st_dtype own = out->from[0]->dtype, dtype = own;
    bool changed = false;
    for (int i = 0; i < out->parts; i++) {
        const struct at_st_tensor *t = out->from[i];
        changed = changed || (p->change && (!p->changes || p->changes(p->priv, out->component, t)));
        dtype = t->dtype == own ? dtype : AT_ST_F32;
    }
    if (p->convert && is_float(own))
        dtype = p->dtype;
    bool raw = !changed && out->parts == 1 && !out->transpose && dtype == own;
    if (!raw && dtype == AT_ST_F64)
        dtype = AT_ST_F32;
    return add(o, out, &(struct at_st_item){.name = name, .dtype = dtype, .rank = rank, .shape = shape,
                                            .raw = raw ? out->from[0]->data : NULL});
}

bool at_outs_add_item(struct at_outs *o, const struct at_st_item *item)
{
    return add(o, &(struct at_out){0}, item);
}

// Values [first, first + n) of one weight as they go into the file.
static bool give_weight(struct at_outs *o, const struct at_st_item *item, const struct at_out *out,
                        const struct at_st_tensor *t, uint64_t first, size_t n, float *values)
{
    const struct at_source_write_params *p = o->p;
    if (!at_safetensors_part_to_f32(out->weights, t, first, n, values))
        return false;
    if (!p->change || (p->changes && !p->changes(p->priv, out->component, t)))
        return true;
    if (!at_grow((void **)&o->values, &o->room, n, sizeof(*o->values)))
        return at_fail_memory(o->log, n * sizeof(*o->values));
    for (size_t i = 0; i < n; i++)
        o->values[i] = (double)values[i];
    if (!p->change(p->priv, out->component, t, first, n, o->values))
        return false;
    for (size_t i = 0; i < n; i++)
        values[i] = item->dtype == AT_ST_F32 ? (float)o->values[i] : at_f32_odd_from_f64(o->values[i]);
    return true;
}

static bool give(void *priv, const struct at_st_item *item, uint64_t first, size_t n, float *values)
{
    struct at_outs *o = priv;
    const struct at_out *out = &o->list[item - o->items];
    uint64_t each = out->from[0]->elements;
    bool ok = true;
    for (size_t done = 0; ok && done < n;) {
        uint64_t at = (first + done) % each;
        const struct at_st_tensor *t = out->from[(first + done) / each];
        size_t some = n - done < each - at ? n - done : (size_t)(each - at);
        if (out->transpose) { // (R,C) to (C,R)
            at = at % t->shape[0] * t->shape[1] + at / t->shape[0];
            some = 1;
        }
        ok = give_weight(o, item, out, t, at, some, values + done);
        done += some;
    }
    return ok;
}

static bool written(void *priv, uint64_t bytes)
{
    struct at_outs *o = priv;
    const struct at_source_write_params *p = o->p;
    return !p->progress || p->progress(p->priv, (double)(o->before + bytes) / (double)o->total) ||
           at_fail(o->log, AT_ERROR_INTERRUPTED, "interrupted; nothing is written to %s", p->out);
}

bool at_outs_write(struct at_outs *o, const char *path, const struct at_st_text *metadata, size_t count)
{
    o->total = o->total ? o->total : o->bytes;
    return at_safetensors_write(o->log, path, &(struct at_st_content){
        .items = o->items, .count = o->count, .metadata = metadata, .metadata_count = count, .give = give,
        .written = written, .priv = o});
}

void at_outs_finish(struct at_outs *o)
{
    at_arena_destroy(&o->arena);
    at_free(o->list);
    at_free(o->items);
    at_free(o->values);
}
