// SPDX-License-Identifier: Apache-2.0
// The named weights of one component. Building a model's graph declares them; allocating gives them memory; later graphs
// of other shapes find the same ones by name. On the host they are one flat vector of floats, on a device pieces of a
// bounded size, so that a large model fits where single allocations are small.
#ifndef CORE_MODELS_PARAMS_H
#define CORE_MODELS_PARAMS_H

#include "core/base/index.h"
#include "core/graph/device.h"
#include "core/io/safetensors.h"

// How a tensor in a file maps to memory.
enum at_layout {
    AT_LAYOUT_PLAIN, // as it is
    AT_LAYOUT_F32,   // as it is, and always of f32: a small matrix that no operator takes as halves
    AT_LAYOUT_CONV,  // file (O,I,KH,KW), memory (O,KH,KW,I)
    AT_LAYOUT_CONV_AS_LINEAR, // file (O,I,1,1), memory (O,I)
};

// Initial values of a weight that is not loaded.
struct at_init {
    enum { AT_INIT_ZERO, AT_INIT_ONE, AT_INIT_UNIFORM, AT_INIT_NORMAL } kind;
    float scale; // half width of the uniform, deviation of the normal
};

#define AT_REPLICAS 64 // graphs that share weights and run at the same time, each with gradients of its own

struct at_param {
    char *name;
    struct at_shape shape; // in memory
    enum at_layout layout;
    struct at_init init;
    int64_t offset; // in the flat vector
    // On the device. Vectors (biases, scales of norms) are of AT_F32 whatever the file's type: that is exact, and small.
    enum at_dtype dtype;
    int piece;
    int64_t at; // element of the piece's stores
};

#define AT_PIECE_BYTES ((size_t)256 << 20) // of a piece, where no single weight is larger

// Weights in one allocation: of one type and use, in the order of their declaration.
struct at_piece {
    struct at_store *store;             // the values
    struct at_store *grad[AT_REPLICAS]; // their gradients, a vector a replica; NULL: frozen
    enum at_dtype dtype;
    enum at_use use; // AT_USE_HOST: matrices that are fetched by each use (struct at_device, `offload`)
    int64_t count, first; // elements; where the first one is in the flat vector
};

struct at_params {
    struct at_log *log;
    struct at_device *dev; // NULL: not allocated, or sizes only
    struct at_param *list;
    int count;
    int64_t total; // floats of the flat vector, offsets aligned to 64; a gap holds zeros
    struct at_piece *pieces; // of trainable parameters: one after the other as in the flat vector
    int piece_count;         // 0: not allocated
    size_t capacity, piece_capacity;
    struct at_index index; // over the names
};

struct at_params *at_params_create(struct at_log *log);
void at_params_destroy(struct at_params **params);

// The parameter of this name, declared if it is new. NULL if it was declared with another shape, or is new although
// memory is already allocated.
const struct at_param *at_params_declare(struct at_params *p, const char *name, struct at_shape shape,
                                         enum at_layout layout, struct at_init init);
// NULL if there is none.
const struct at_param *at_params_find(const struct at_params *p, const char *name);

// Lets matrices of frozen parameters be halves, before memory is allocated: as the file has them under `prefix` + name,
// or as `weights` says, and then `file` may be NULL. Not called: all are of f32.
void at_params_choose_types(struct at_params *p, enum at_weights weights, const struct at_safetensors *file,
                            const char *prefix);
// Gives all declared parameters memory on a device, zeroed, and gradients for so many replicas (0: frozen; else all are
// of f32). dev NULL: sizes only. Leaves of graphs built before do not see it: build the graph again. A weight larger
// than the device allocates is an error, by name.
AT_NODISCARD bool at_params_allocate(struct at_params *p, struct at_device *dev, int replicas);
// Takes the memory back; at_params_allocate gives it again, of the same types. Graphs built before hold what is gone.
void at_params_release(struct at_params *p);
// Fills in initial values: a function of (seed, position, init).
AT_NODISCARD bool at_params_init(struct at_params *p, uint64_t seed);
// Reads every parameter from the file under `prefix` + name. Missing, mis-shaped and unexpected names are listed and are
// errors; `ignored` (NULL at the end, may be NULL) are names a file may carry without use, and "*" stands for all, which
// at_params_check then warns about. Values that are not finite, or that the type on the device cannot hold, are errors,
// by name. Halves of the same type are copied as they are. The host holds a few megabytes of a tensor at a time.
AT_NODISCARD bool at_params_load(struct at_params *p, const struct at_safetensors *file, const char *prefix,
                                 const char *const *ignored);
// Names and shapes alone, before memory is allocated that a wrong config may ask for.
AT_NODISCARD bool at_params_check(const struct at_params *p, const struct at_safetensors *file, const char *prefix,
                                  const char *const *ignored);
// Writes every parameter under `prefix` + name, from `values` (memory layout; NULL: from the device), as f32, f16 or
// bf16, replacing the file whole. The host holds one weight at a time.
struct at_params_save_params {
    const char *path, *prefix;
    enum at_st_dtype dtype;
    const float *values;
    const struct at_st_text *metadata;
    size_t metadata_count;
};
AT_NODISCARD bool at_params_save(const struct at_params *p, const struct at_params_save_params *how);
// All values, in memory layout, to or from `total` floats of the host. Halves are widened and rounded.
AT_NODISCARD bool at_params_read(const struct at_params *p, float *values);
AT_NODISCARD bool at_params_write(struct at_params *p, const float *values);
// Of one parameter: its values, and its gradient in a replica.
AT_NODISCARD bool at_param_read(const struct at_params *p, const struct at_param *param, float *values);
AT_NODISCARD bool at_param_read_gradient(const struct at_params *p, const struct at_param *param, int replica,
                                         float *values);
// Adds what at_params_read gives to a hash, a parameter at a time.
struct at_sha256;
AT_NODISCARD bool at_params_hash(const struct at_params *p, struct at_sha256 *hash);

// A parameter's values between memory and file layout; both hold the parameter's element count.
void at_param_to_file(const struct at_param *p, const float *memory, float *file);
void at_param_from_file(const struct at_param *p, const float *file, float *memory);
// Its shape in a file.
struct at_shape at_param_file_shape(const struct at_param *p);

#endif
