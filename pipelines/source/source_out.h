// SPDX-License-Identifier: Apache-2.0
// Inside of source_write.c, source_out.c and single_write.c: weights on their way into a file.
#ifndef PIPELINES_SOURCE_SOURCE_OUT_H
#define PIPELINES_SOURCE_SOURCE_OUT_H

#include "core/base/arena.h"
#include "pipelines/source/source_write.h"

// One tensor of the file: a weight, or three of one size below each other.
struct at_out {
    const char *component;
    const struct at_safetensors *weights; // NULL: its item has values of its own
    const struct at_st_tensor *from[3];   // of them
    int parts;
    bool transpose;
};

// One file. Begins with the first three members given, the others zero.
struct at_outs {
    const struct at_model_source *source;
    const struct at_source_write_params *p;
    struct at_log *log;
    struct at_arena *arena; // names and shapes
    struct at_out *list;
    struct at_st_item *items; // one each
    size_t count, capacity, item_capacity;
    uint64_t bytes;               // of all items
    uint64_t before, total;       // bytes of earlier files and of all, for the progress
    double *values;               // room for a piece
    size_t room;
};

// Adds a tensor; name and shape are copied. It gets the type that all of `from` have, else F32, or what `p` asks for.
AT_NODISCARD bool at_outs_add(struct at_outs *o, const struct at_out *out, const char *name, int rank,
                              const uint64_t *shape);
// The same with values that outlive `o`.
AT_NODISCARD bool at_outs_add_item(struct at_outs *o, const struct at_st_item *item);
AT_NODISCARD bool at_outs_write(struct at_outs *o, const char *path, const struct at_st_text *metadata, size_t count);
void at_outs_finish(struct at_outs *o);

// The whole model as one file.
AT_NODISCARD bool at_single_write(const struct at_model_source *source, const struct at_source_write_params *p);

#endif
