// SPDX-License-Identifier: Apache-2.0
// The named weights of one component, in one flat vector. Building a model's graph declares them; allocating gives them
// memory; later graphs of other shapes find the same ones by name.
#ifndef CORE_MODELS_PARAMS_H
#define CORE_MODELS_PARAMS_H

#include "core/graph/device.h"
#include "core/io/safetensors.h"

// How a tensor in a file maps to memory.
enum at_layout {
    AT_LAYOUT_PLAIN, // as it is
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
    int64_t offset; // in the stores
};

struct at_params {
    struct at_log *log;
    struct at_param *list;
    int count;
    int64_t total;          // reals, offsets aligned to 64
    struct at_store *store; // the values
    struct at_store *grad[AT_REPLICAS]; // their gradients, one vector a replica; NULL: frozen
    size_t capacity;
    int *index; // hash table over the names: position + 1, 0 = free
    int buckets;
};

struct at_params *at_params_create(struct at_log *log);
void at_params_destroy(struct at_params **params);

// The parameter of this name, declared if it is new. NULL if it was declared with another shape, or is new although
// memory is already allocated.
const struct at_param *at_params_declare(struct at_params *p, const char *name, struct at_shape shape,
                                         enum at_layout layout, struct at_init init);
// NULL if there is none.
const struct at_param *at_params_find(const struct at_params *p, const char *name);

// Gives all declared parameters memory on a device, zeroed, and gradients for so many replicas (0: frozen). dev NULL:
// sizes only. Leaves of graphs built before do not see it: build the graph again.
AT_NODISCARD bool at_params_allocate(struct at_params *p, struct at_device *dev, int replicas);
// Fills in initial values: a function of (seed, position, init).
AT_NODISCARD bool at_params_init(struct at_params *p, uint64_t seed);
// Reads every parameter from the file under `prefix` + name. Missing, mis-shaped and unexpected names are listed and are
// errors; `ignored` (NULL at the end, may be NULL) are names a file may carry without use, and "*" stands for all, which
// at_params_check then warns about. Values that are not finite are errors, by name.
AT_NODISCARD bool at_params_load(struct at_params *p, const struct at_safetensors *file, const char *prefix,
                                 const char *const *ignored);
// Names and shapes alone, before memory is allocated that a wrong config may ask for.
AT_NODISCARD bool at_params_check(const struct at_params *p, const struct at_safetensors *file, const char *prefix,
                                  const char *const *ignored);
// Writes every parameter under `prefix` + name, from `values` (memory layout; NULL: from the device), as f32, f16 or
// bf16, replacing the file whole.
struct at_params_save_params {
    const char *path, *prefix;
    enum at_st_dtype dtype;
    const float *values;
    const struct at_st_text *metadata;
    size_t metadata_count;
};
AT_NODISCARD bool at_params_save(const struct at_params *p, const struct at_params_save_params *how);
// All values, in memory layout, to or from `total` floats of the host.
AT_NODISCARD bool at_params_read(const struct at_params *p, float *values);
AT_NODISCARD bool at_params_write(struct at_params *p, const float *values);

// A parameter's values between memory and file layout; both hold the parameter's element count.
void at_param_to_file(const struct at_param *p, const float *memory, float *file);
void at_param_from_file(const struct at_param *p, const float *file, float *memory);
// Its shape in a file.
struct at_shape at_param_file_shape(const struct at_param *p);

#endif
