// SPDX-License-Identifier: Apache-2.0
// A graph compiled for a small batch and mapped over any number of items, in parallel on the device's workers. Small
// models lose more to splitting every operator over the cores than to splitting the batch.
#ifndef PIPELINES_MODEL_SPREAD_H
#define PIPELINES_MODEL_SPREAD_H

#include "core/graph/device.h"
#include "core/graph/gradient.h"

#define AT_PORTS 8

// The ends of one graph: tensors whose first dimension is the batch.
struct at_ports {
    struct at_node *in[AT_PORTS], *out[AT_PORTS]; // NULL at the end
};

struct at_spread_params {
    struct at_device *dev;
    int items;     // that a run usually has
    int max_batch; // of one graph; 0: 16
    // Appends the graph for `batch` items, and sets the ports. Workers are numbered from 0: with `gradient`, a worker's
    // graph must use the gradients of the replica of its number.
    bool (*build)(const void *priv, struct at_graph *g, int worker, int batch, struct at_ports *ports);
    const void *priv;
    // Append the gradient of all `out` ports, for at_spread_backward. Then every run takes exactly `items` items.
    bool gradient;
    // With `gradient`: items whose values are kept until their backward; 0: all. It divides `items`. The others run again
    // for their backward: less memory for more work, and the same gradients but for rounding.
    int at_once;
    struct at_recompute recompute;
};

struct at_spread;

struct at_spread *at_spread_create(const struct at_spread_params *params, struct at_log *log);
void at_spread_destroy(struct at_spread **s);
// in[i] and out[i]: n items of port i, one after the other.
AT_NODISCARD bool at_spread_run(struct at_spread *s, int n, const void *const *in, void *const *out);
// After a run, with its `in`: adds the gradients of sum_i <seeds[i], out[i]> to the gradient stores of the leaves.
AT_NODISCARD bool at_spread_backward(struct at_spread *s, const void *const *in, const void *const *seeds);
// Memory that the graphs' tensors take together, in bytes.
size_t at_spread_bytes(const struct at_spread *s);
// FLOPs an item, of a run and of a backward with what it runs again.
double at_spread_flops(const struct at_spread *s);
double at_spread_backward_flops(const struct at_spread *s);
// How many workers a spread with `gradient` gets that keeps so many items at once: the replicas its parameters must have.
int at_spread_replicas(const struct at_device *dev, int at_once);

#endif
