// SPDX-License-Identifier: Apache-2.0
// Sums over samples whose result does not depend on the number of threads: the rows of every sample are cut into
// chunks of a fixed size, each chunk is summed into a double of the scratch memory, and after a barrier the chunks of
// a sample are added up in their order.
#ifndef CORE_OPS_CHUNKS_H
#define CORE_OPS_CHUNKS_H

#include "core/graph/tensor.h"

#include <stddef.h>

#define AT_CHUNK 16384 // elements of a chunk, about

struct at_chunks {
    int64_t samples, rows; // rows of one sample
    int64_t step;          // rows of a chunk
    int64_t per_sample;    // chunks of a sample
};

// Of a tensor whose first dimension counts samples, read as rows of `width` elements.
static inline struct at_chunks at_chunks_of(struct at_shape shape, int64_t width)
{
    struct at_chunks c = {.samples = shape.dim[0], .rows = at_shape_count(shape) / shape.dim[0] / width};
    c.step = width < AT_CHUNK ? AT_CHUNK / width : 1;
    c.per_sample = (c.rows + c.step - 1) / c.step;
    return c;
}

// Rows [begin, end) of sample `sample` are chunk `index`.
struct at_chunk {
    int64_t sample, begin, end;
};

static inline struct at_chunk at_chunk_at(const struct at_chunks *c, int64_t index)
{
    int64_t begin = index % c->per_sample * c->step, end = begin + c->step;
    return (struct at_chunk){index / c->per_sample, begin, end < c->rows ? end : c->rows};
}

// Scratch memory for `sums` sums a chunk, in reals of at least 4 bytes.
static inline size_t at_chunks_scratch(const struct at_chunks *c, size_t sums)
{
    return (size_t)(c->samples * c->per_sample) * sums * 2;
}

// part[i stride] summed over the chunks of a sample.
static inline double at_chunks_sum(const struct at_chunks *c, const double *part, int64_t sample, int64_t stride)
{
    double sum = 0;
    for (int64_t i = sample * c->per_sample; i < (sample + 1) * c->per_sample; i++)
        sum += part[i * stride];
    return sum;
}

#endif
