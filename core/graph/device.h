// SPDX-License-Identifier: Apache-2.0
// A device executes plans. Three implementations: the CPU (float), the oracle (the same kernels in double), and Vulkan.
//
//     struct at_device *dev = at_cpu_open(&(struct at_cpu_params){0}, log);
//     struct at_exec *exec = at_exec_create(dev, graph);     // fuses, halves, plans, allocates
//     at_exec_write(exec, x, data);
//     at_exec_run(exec, 0);
//     at_exec_read(exec, y, out);
//
// Host data are float, int32_t or the bits of halves, whatever the device computes in. One thread uses a device at a time,
// but for at_exec_write, _run and _read on different plans from at most `workers` threads.
#ifndef CORE_GRAPH_DEVICE_H
#define CORE_GRAPH_DEVICE_H

#include "core/graph/plan.h"

struct at_buffer; // device memory, opaque to all but its device
struct at_run;    // a compiled plan, opaque to all but its device

// What memory is for.
enum at_use {
    AT_USE_WEIGHTS,
    AT_USE_GRADIENTS,
    AT_USE_OPTIMIZER,
    AT_USE_TENSORS, // of graphs: activations and all else that a plan places
    AT_USE_HOST,    // weights in host memory, fetched by each use: not the device's memory, where that is another
    AT_USES
};

// The type in which a device keeps matrices of frozen weights.
enum at_weights {
    AT_WEIGHTS_STORED, // as the file has them
    AT_WEIGHTS_F32,
    AT_WEIGHTS_F16,
    AT_WEIGHTS_BF16,
};

// A device implementation fills this in as its first member. Sizes and offsets are in bytes of the device's reals.
struct at_device {
    const struct at_device_api *api;
    struct at_log *log;
    const char *kind; // "cpu", "oracle", "vulkan"
    char name[128];   // of the hardware
    size_t real_size; // 4 or 8
    size_t max_chunk; // largest allocation; 0: no limit
    size_t memory;    // all there is; 0: not known
    size_t staging;   // of the host's memory, kept for transfers
    enum at_weights weights; // set before weights are allocated
    bool own_memory;  // apart from the host's: weights can be offloaded from it
    bool offload;     // frozen weights are to live in host memory (at_fetch); only with own_memory
    bool guard;       // look at every value; set before plans are compiled (guard.h)
    enum at_dtype activations; // AT_F16: forward values of plans lie in halves where they can (halve.h); else AT_F32
    int workers;      // plans that may run at the same time, each from a thread of its own (in an OpenMP team)
    size_t allocated, peak; // bytes now and at most
    // The same by use; the peak's is the state at the common peak, but AT_USE_HOST is in neither sum and has its own.
    size_t used[AT_USES], peak_used[AT_USES];
};

struct at_device_api {
    void (*close)(struct at_device *dev);
    struct at_buffer *(*buffer_create)(struct at_device *dev, size_t bytes); // zeroed; NULL: out of memory, logged
    // The same in memory of the host that the device's kernels can read; called on devices with own_memory.
    struct at_buffer *(*host_create)(struct at_device *dev, size_t bytes);
    void (*buffer_destroy)(struct at_device *dev, struct at_buffer *buffer);
    // Copies n elements; `dtype` is what the host side holds: halves as they are, on both sides.
    bool (*write)(struct at_device *dev, struct at_buffer *b, size_t offset, const void *data, int64_t n, enum at_dtype dtype);
    bool (*read)(struct at_device *dev, struct at_buffer *b, size_t offset, void *data, int64_t n, enum at_dtype dtype);
    size_t (*scratch)(const void *dev, const struct at_node *node);
    // arena: one buffer a chunk.
    struct at_run *(*compile)(struct at_device *dev, const struct at_plan *plan, struct at_buffer *const *arena);
    bool (*run)(struct at_device *dev, struct at_run *run, int phase);
    void (*release)(struct at_device *dev, struct at_run *run);
};

void at_device_close(struct at_device **dev);
// What a list of ways to save memory goes on with: of ", --offload, --activations f16" what is not in use and does something.
const char *at_device_memory_knobs(const struct at_device *dev);

// A flat vector that outlives plans: weights, gradients, optimiser state. Weights may be halves.
struct at_store {
    struct at_device *dev;
    struct at_buffer *buffer;
    int64_t count;
    enum at_dtype dtype; // not AT_I32
    enum at_use use;
};
// Zeroed, of AT_F32. With dev NULL the store only stands for its size, so that a plan can be made without memory.
struct at_store *at_store_create(struct at_device *dev, int64_t count, enum at_use use, struct at_log *log);
struct at_store *at_store_create_typed(struct at_device *dev, int64_t count, enum at_dtype dtype, enum at_use use,
                                       struct at_log *log);
void at_store_destroy(struct at_store **store);
// Halves are rounded to nearest, ties to even, and widened.
AT_NODISCARD bool at_store_write(struct at_store *store, int64_t offset, const float *data, int64_t n);
AT_NODISCARD bool at_store_read(const struct at_store *store, int64_t offset, float *data, int64_t n);
// The bits of a store of halves.
AT_NODISCARD bool at_store_write_bits(struct at_store *store, int64_t offset, const void *data, int64_t n);
size_t at_store_bytes(const struct at_store *store); // on its device; without one 4 a real

struct at_exec {
    struct at_device *dev;
    struct at_plan *plan;
    struct at_buffer **arena;
    struct at_run *run;
};

// Fuses, halves and plans the graph, and allocates what the plan says. The graph must outlive it and not change any more.
struct at_exec *at_exec_create(struct at_device *dev, struct at_graph *g);
void at_exec_destroy(struct at_exec **exec);
// n and dtype follow from the node: an input, or a live node marked as output.
AT_NODISCARD bool at_exec_write(struct at_exec *exec, const struct at_node *node, const void *data);
AT_NODISCARD bool at_exec_read(const struct at_exec *exec, const struct at_node *node, void *data);
AT_NODISCARD bool at_exec_run(struct at_exec *exec, int phase);

#endif
