// SPDX-License-Identifier: Apache-2.0
#include "core/models/params.h"

#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/io/sha256.h"

#include <math.h>
#include <string.h>

#define ALIGN 64 // reals between the starts of parameters

struct at_params *at_params_create(struct at_log *log)
{
    struct at_params *p = at_calloc(1, sizeof(*p));
    if (p)
        p->log = log;
    else
        at_fail_memory(log, sizeof(*p));
    return p;
}

void at_params_release(struct at_params *p)
{
    for (int i = 0; i < p->piece_count; i++) {
        at_store_destroy(&p->pieces[i].store);
        for (int r = 0; r < AT_REPLICAS; r++)
            at_store_destroy(&p->pieces[i].grad[r]);
    }
    p->piece_count = 0;
    p->dev = NULL;
}

void at_params_destroy(struct at_params **params)
{
    struct at_params *p = *params;
    if (!p)
        return;
    at_params_release(p);
    at_free(p->pieces);
    for (int i = 0; i < p->count; i++)
        at_free(p->list[i].name);
    at_free(p->list);
    at_index_finish(&p->index);
    at_free(p);
    *params = NULL;
}

const struct at_param *at_params_find(const struct at_params *p, const char *name)
{
    int i = at_index_find(&p->index, p->list, sizeof(*p->list), name);
    return i < 0 ? NULL : &p->list[i];
}

static int64_t padded(struct at_shape s)
{
    return (at_shape_count(s) + ALIGN - 1) / ALIGN * ALIGN;
}

static bool add(struct at_params *p, const char *name, const struct at_param *param)
{
    char *copy = at_strdup(name);
    if (!copy || !at_grow((void **)&p->list, &p->capacity, (size_t)p->count + 1, sizeof(*p->list))) {
        at_free(copy);
        return at_fail_memory(p->log, sizeof(*param));
    }
    p->list[p->count] = *param;
    p->list[p->count].name = copy;
    p->list[p->count].offset = p->total;
    p->total += padded(param->shape);
    p->count++;
    return at_index_add(&p->index, p->list, sizeof(*p->list), p->count) || at_fail_memory(p->log, sizeof(*param));
}

const struct at_param *at_params_declare(struct at_params *p, const char *name, struct at_shape shape,
                                         enum at_layout layout, struct at_init init)
{
    const struct at_param *have = at_params_find(p, name);
    if (have && at_shape_equal(have->shape, shape))
        return have;
    char a[AT_SHAPE_TEXT], b[AT_SHAPE_TEXT];
    if (have) {
        at_fail(p->log, AT_ERROR_FAILED, "%s: used as %s and as %s", name, at_shape_text(have->shape, a),
                at_shape_text(shape, b));
        return NULL;
    }
    if (p->piece_count) {
        at_fail(p->log, AT_ERROR_FAILED, "%s: a new weight after the memory was allocated", name);
        return NULL;
    }
    if (!add(p, name, &(struct at_param){.shape = shape, .layout = layout, .init = init}))
        return NULL;
    return &p->list[p->count - 1];
}

// The piece of that type and use that is being filled, if there is room in it.
static struct at_piece *open_piece(struct at_params *p, const struct at_param *param, enum at_use use, size_t size,
                                   size_t limit)
{
    for (int i = p->piece_count - 1; i >= 0; i--)
        if (p->pieces[i].dtype == param->dtype && p->pieces[i].use == use)
            return (size_t)(p->pieces[i].count + padded(param->shape)) * size <= limit ? &p->pieces[i] : NULL;
    return NULL;
}

// `most`: bytes that the device allocates.
static bool place(struct at_params *p, struct at_param *param, enum at_use use, size_t most, bool trained)
{
    size_t size = at_dtype_size(param->dtype, p->dev ? p->dev->real_size : 4);
    size_t bytes = (size_t)padded(param->shape) * size;
    if (bytes > most)
        return at_fail(p->log, AT_ERROR_DEVICE, "%s needs %.1f MiB in one piece, but the device allows %.1f MiB%s; use "
                       "another device%s", param->name, (double)bytes / (1 << 20), (double)most / (1 << 20),
                       trained ? " where it is trained" : "",
                       trained || at_dtype_half(param->dtype) ? "" : ", or --weights f16");
    struct at_piece *piece = open_piece(p, param, use, size, most < AT_PIECE_BYTES ? most : AT_PIECE_BYTES);
    if (!piece) {
        if (!at_grow((void **)&p->pieces, &p->piece_capacity, (size_t)p->piece_count + 1, sizeof(*p->pieces)))
            return at_fail_memory(p->log, sizeof(*p->pieces));
        piece = &p->pieces[p->piece_count++];
        *piece = (struct at_piece){.dtype = param->dtype, .use = use, .first = param->offset};
    }
    param->piece = (int)(piece - p->pieces);
    param->at = piece->count;
    piece->count += padded(param->shape);
    return true;
}

bool at_params_allocate(struct at_params *p, struct at_device *dev, int replicas)
{
    size_t most = dev && dev->max_chunk ? dev->max_chunk : SIZE_MAX;
    if (replicas)
        most /= 2; // the optimiser keeps two moments of a piece in one allocation
    bool offload = dev && dev->offload && !replicas, ok = true;
    p->dev = dev;
    for (int i = 0; ok && i < p->count; i++) {
        if (replicas)
            p->list[i].dtype = AT_F32;
        ok = place(p, &p->list[i], offload && p->list[i].shape.rank > 1 ? AT_USE_HOST : AT_USE_WEIGHTS, most,
                   replicas);
    }
    for (int i = 0; ok && i < p->piece_count; i++) {
        struct at_piece *piece = &p->pieces[i];
        ok = (piece->store = at_store_create_typed(dev, piece->count, piece->dtype, piece->use, p->log));
        for (int r = 0; ok && r < replicas; r++)
            ok = (piece->grad[r] = at_store_create(dev, piece->count, AT_USE_GRADIENTS, p->log));
    }
    return ok;
}

static void draw(const struct at_param *p, int position, uint64_t seed, float *out)
{
    int64_t n = at_shape_count(p->shape);
    if (p->init.kind == AT_INIT_NORMAL)
        at_rng_normal(out, (size_t)n, seed, AT_STREAM_INIT, (uint64_t)position);
    for (int64_t i = 0; i < n; i++) {
        switch (p->init.kind) {
        case AT_INIT_ZERO:
            out[i] = 0;
            break;
        case AT_INIT_ONE:
            out[i] = 1;
            break;
        case AT_INIT_UNIFORM: {
            uint64_t index = ((uint64_t)position << 32) + (uint64_t)i;
            out[i] = (float)((2 * at_rng_uniform(seed, AT_STREAM_INIT, index) - 1) * p->init.scale);
            break;
        }
        case AT_INIT_NORMAL:
            out[i] *= p->init.scale;
            break;
        }
    }
}

// Zeroed floats for the largest parameter, with its gap; NULL (logged) without memory.
static float *room_for_one(const struct at_params *p)
{
    int64_t most = ALIGN;
    for (int i = 0; i < p->count; i++)
        most = padded(p->list[i].shape) > most ? padded(p->list[i].shape) : most;
    float *values = at_calloc((size_t)most, sizeof(*values));
    if (!values)
        at_fail_memory(p->log, (size_t)most * sizeof(*values));
    return values;
}

bool at_params_init(struct at_params *p, uint64_t seed)
{
    float *values = room_for_one(p);
    bool ok = values;
    for (int i = 0; ok && i < p->count; i++) {
        draw(&p->list[i], i, seed, values);
        ok = at_store_write(p->pieces[p->list[i].piece].store, p->list[i].at, values, at_shape_count(p->list[i].shape));
    }
    at_free(values);
    return ok;
}

// Parameters [first, result) lie on the device as they do in the flat vector.
static int run_of(const struct at_params *p, int first)
{
    const struct at_param *a = &p->list[first];
    int end = first + 1;
    while (end < p->count && p->list[end].piece == a->piece &&
           p->list[end].at - a->at == p->list[end].offset - a->offset)
        end++;
    return end;
}

// Floats from parameter `first` to `end`, its gap included.
static int64_t length_of(const struct at_params *p, int first, int end)
{
    return (end < p->count ? p->list[end].offset : p->total) - p->list[first].offset;
}

bool at_params_read(const struct at_params *p, float *values)
{
    bool ok = true;
    for (int i = 0, end; ok && i < p->count; i = end) {
        const struct at_param *a = &p->list[i];
        end = run_of(p, i);
        ok = at_store_read(p->pieces[a->piece].store, a->at, values + a->offset, length_of(p, i, end));
    }
    return ok;
}

bool at_params_write(struct at_params *p, const float *values)
{
    bool ok = true;
    for (int i = 0, end; ok && i < p->count; i = end) {
        const struct at_param *a = &p->list[i];
        end = run_of(p, i);
        ok = at_store_write(p->pieces[a->piece].store, a->at, values + a->offset, length_of(p, i, end));
    }
    return ok;
}

bool at_param_read(const struct at_params *p, const struct at_param *param, float *values)
{
    return at_store_read(p->pieces[param->piece].store, param->at, values, at_shape_count(param->shape));
}

bool at_param_read_gradient(const struct at_params *p, const struct at_param *param, int replica, float *values)
{
    return at_store_read(p->pieces[param->piece].grad[replica], param->at, values, at_shape_count(param->shape));
}

bool at_params_hash(const struct at_params *p, struct at_sha256 *hash)
{
    float *values = room_for_one(p);
    bool ok = values;
    for (int i = 0; ok && i < p->count; i++) {
        const struct at_param *a = &p->list[i];
        int64_t n = length_of(p, i, i + 1);
        ok = at_store_read(p->pieces[a->piece].store, a->at, values, n);
        at_sha256_add(hash, values, ok ? (size_t)n * sizeof(*values) : 0);
    }
    at_free(values);
    return ok;
}

struct at_shape at_param_file_shape(const struct at_param *p)
{
    const int64_t *d = p->shape.dim;
    if (p->layout == AT_LAYOUT_CONV)
        return AT_SHAPE(d[0], d[3], d[1], d[2]);
    if (p->layout == AT_LAYOUT_CONV_AS_LINEAR)
        return AT_SHAPE(d[0], d[1], 1, 1);
    return p->shape;
}

void at_param_to_file(const struct at_param *p, const float *memory, float *file)
{
    int64_t n = at_shape_count(p->shape);
    if (p->layout != AT_LAYOUT_CONV) {
        memcpy(file, memory, (size_t)n * sizeof(*file));
        return;
    }
    int64_t taps = p->shape.dim[1] * p->shape.dim[2], in = p->shape.dim[3];
    for (int64_t o = 0; o < p->shape.dim[0]; o++)
        for (int64_t t = 0; t < taps; t++)
            for (int64_t i = 0; i < in; i++)
                file[(o * in + i) * taps + t] = memory[(o * taps + t) * in + i];
}

void at_param_from_file(const struct at_param *p, const float *file, float *memory)
{
    int64_t n = at_shape_count(p->shape);
    if (p->layout != AT_LAYOUT_CONV) {
        memcpy(memory, file, (size_t)n * sizeof(*file));
        return;
    }
    int64_t taps = p->shape.dim[1] * p->shape.dim[2], in = p->shape.dim[3];
    for (int64_t o = 0; o < p->shape.dim[0]; o++)
        for (int64_t t = 0; t < taps; t++)
            for (int64_t i = 0; i < in; i++)
                memory[(o * taps + t) * in + i] = file[(o * in + i) * taps + t];
}
