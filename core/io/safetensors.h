// SPDX-License-Identifier: Apache-2.0
// safetensors files, single or sharded, read through a memory map and checked in full before the first use.
// Format: safetensors README.md and safetensors/src/tensor.rs.
//
//     struct at_safetensors *st = at_weights_open(log, "model/unet", "diffusion_pytorch_model", NULL);
//     const struct at_st_tensor *t = st ? at_safetensors_find(st, "conv_in.weight") : NULL;
//     bool ok = t && at_safetensors_to_f32(st, t, values); // t->elements floats
//     at_safetensors_destroy(&st);
#ifndef CORE_IO_SAFETENSORS_H
#define CORE_IO_SAFETENSORS_H

#include "core/base/log.h"

#include <stdint.h>

// In the order of the format's own list, by which a writer sorts.
enum at_st_dtype {
    AT_ST_BOOL,
    AT_ST_F4,
    AT_ST_F6_E2M3,
    AT_ST_F6_E3M2,
    AT_ST_U8,
    AT_ST_I8,
    AT_ST_F8_E5M2,
    AT_ST_F8_E4M3,
    AT_ST_F8_E8M0,
    AT_ST_F8_E4M3FNUZ,
    AT_ST_F8_E5M2FNUZ,
    AT_ST_I16,
    AT_ST_U16,
    AT_ST_F16,
    AT_ST_BF16,
    AT_ST_I32,
    AT_ST_U32,
    AT_ST_F32,
    AT_ST_C64,
    AT_ST_F64,
    AT_ST_I64,
    AT_ST_U64,
};
const char *at_st_dtype_name(enum at_st_dtype dtype); // "F16"
unsigned at_st_dtype_bits(enum at_st_dtype dtype);    // of one element

// One tensor; everything in it lives as long as the file it came from.
struct at_st_tensor {
    const char *name; // UTF-8, unique
    enum at_st_dtype dtype;
    int rank;              // 0: a scalar
    const uint64_t *shape; // `rank` sizes, slowest first; a size may be 0
    uint64_t elements;     // their product
    const uint8_t *data;   // little-endian, not aligned; not NULL even if empty
    uint64_t bytes;
    const char *file;   // for messages
    const char *origin; // its name in the file, where a view gives it another; else NULL
};
const char *at_st_origin(const struct at_st_tensor *tensor); // its name in the file

struct at_safetensors;

// What bytes are that are of another kind of file with weights, as in "this is %s": a pickle, GGUF. NULL: none known.
const char *at_st_foreign(const void *data, size_t size);

// Maps one file. NULL on failure. The log must outlive the result.
struct at_safetensors *at_safetensors_open(struct at_log *log, const char *path);
// The same from memory, which stays the caller's and must outlive the result. `name` stands in messages.
struct at_safetensors *at_safetensors_parse(struct at_log *log, const char *name, const void *bytes, size_t size);
// A sharded set by its ....safetensors.index.json: the tensors of its weight_map, from files beside it.
struct at_safetensors *at_safetensors_open_index(struct at_log *log, const char *path);
// The weights `base` in a model folder: base.safetensors or its index; else the same with the variant fp16. A
// `variant` ("fp16", "bf16", "ema") asks for that one only; NULL: as said.
struct at_safetensors *at_weights_open(struct at_log *log, const char *dir, const char *base, const char *variant);
// Whether the weights `base` are there in this variant ("": the plain ones).
bool at_weights_exist(const char *dir, const char *base, const char *variant);
// Fails with what is in the folder in their place: other variants, shards without an index, pickles.
bool at_weights_missing(struct at_log *log, const char *dir, const char *base, const char *variant);
// Frees and unmaps, once no view is left; sets *st to NULL; a pointer to NULL is fine.
void at_safetensors_destroy(struct at_safetensors **st);

// A tensor as a view shows it.
struct at_st_pick {
    const struct at_st_tensor *from;
    const char *name;     // copied; NULL: as in the file
    uint64_t first, rows; // of the slowest dimension; rows 0: all
    int rank;             // sizes of 1 at the end of the shape are left out or added; 0: as it is
    bool transpose;       // of a matrix: the one case that copies
};
// Chosen tensors of a file, without copying; begins empty. The file may be destroyed before its views. Destroyed as a
// file; metadata stay with the file. One thread at a time for a file and its views.
struct at_safetensors *at_safetensors_view(struct at_safetensors *of);
AT_NODISCARD bool at_safetensors_view_add(struct at_safetensors *view, const struct at_st_pick *pick);
// Before the first use: two tensors of one name fail.
AT_NODISCARD bool at_safetensors_view_end(struct at_safetensors *view);

size_t at_safetensors_count(const struct at_safetensors *st);
const struct at_st_tensor *at_safetensors_at(const struct at_safetensors *st, size_t index);       // sorted by name
const struct at_st_tensor *at_safetensors_find(const struct at_safetensors *st, const char *name); // NULL: none
// The tensor, which must be there and have this shape; else NULL, and the log says what is there instead.
const struct at_st_tensor *at_safetensors_need(const struct at_safetensors *st, const char *name, const uint64_t *shape,
                                               int rank);
// __metadata__ (of the first shard): pairs by index, or a value by key (NULL: none).
size_t at_safetensors_metadata_count(const struct at_safetensors *st);
void at_safetensors_metadata_at(const struct at_safetensors *st, size_t index, const char **key, const char **value);
const char *at_safetensors_metadata(const struct at_safetensors *st, const char *key);

// Converts t->elements values from F32, F16, BF16 or F64; other types fail by name.
AT_NODISCARD bool at_safetensors_to_f32(const struct at_safetensors *st, const struct at_st_tensor *t, float *out);
// The same for elements [first, first + n).
AT_NODISCARD bool at_safetensors_part_to_f32(const struct at_safetensors *st, const struct at_st_tensor *t,
                                             uint64_t first, uint64_t n, float *out);

// A tensor to write: from f32 to F32, F16 or BF16, or `raw` bytes of any type as they are.
struct at_st_item {
    const char *name;
    enum at_st_dtype dtype;
    int rank;
    const uint64_t *shape;
    const float *data; // NULL: asked for when they are written, by `give` of the content
    const void *raw;   // if not NULL, written instead of data
};
struct at_st_text {
    const char *key, *value;
};
struct at_st_content {
    const struct at_st_item *items;
    size_t count;
    const struct at_st_text *metadata; // say {"format", "pt"}, which PyTorch readers look for
    size_t metadata_count;
    // Values [first, first + n) of an item without data, in ascending order. False (logged) ends the writing.
    bool (*give)(void *priv, const struct at_st_item *item, uint64_t first, size_t n, float *out);
    // Called every megabyte or so; false (logged) ends the writing. NULL: never.
    bool (*written)(void *priv, uint64_t bytes);
    void *priv;
};
// Replaces the file `path` whole. Tensors are sorted by type (widest first), then name; metadata by key. A finite value
// that F16 cannot hold fails with the tensor's name, and the old file stands.
AT_NODISCARD bool at_safetensors_write(struct at_log *log, const char *path, const struct at_st_content *content);
// SHA-256 of what would follow the header: the tensors alone, whatever the metadata.
AT_NODISCARD bool at_safetensors_hash(struct at_log *log, const struct at_st_content *content, char text[65]);

#endif
