// SPDX-License-Identifier: Apache-2.0
// Inside core/io/safetensors*.c only.
#ifndef CORE_IO_SAFETENSORS_DOC_H
#define CORE_IO_SAFETENSORS_DOC_H

#include "core/io/file.h"
#include "core/io/safetensors.h"

#define AT_ST_HEADER_LIMIT 100000000

struct at_safetensors {
    struct at_log *log;
    struct at_arena *arena; // names, shapes, metadata
    struct at_st_tensor *tensors;
    struct at_st_text *metadata;
    struct at_map *maps;
    size_t count, capacity, metadata_count, metadata_capacity, map_count, map_capacity;
    bool metadata_read; // the first file's has been taken
    struct at_safetensors *of; // whose tensors a view shows
    int views;                 // that show these tensors
    bool destroyed;            // but for its views
};

struct at_safetensors *at_st_create(struct at_log *log);
// Adds a file's tensors at the end, unsorted, after checking all of it. The bytes must outlive the object.
AT_NODISCARD bool at_st_add_bytes(struct at_safetensors *st, const char *path, const uint8_t *bytes, size_t size);
AT_NODISCARD bool at_st_add_file(struct at_safetensors *st, const char *path);
void at_st_sort(struct at_safetensors *st);
AT_NODISCARD bool at_st_size(enum at_st_dtype dtype, const uint64_t *shape, int rank, uint64_t *elements,
                             uint64_t *bytes);

#endif
