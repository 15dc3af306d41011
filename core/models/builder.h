// SPDX-License-Identifier: Apache-2.0
// What the models are built from: a graph, the weights under dotted names, and adapters on top.
//
//     at_scope_push(b, "mid_block.resnets.%d", i);
//     x = at_build_conv(b, "conv1", x, &(struct at_build_conv_params){.out = 64, .kernel = 3, .pad = 1});
//     at_scope_pop(b);
#ifndef CORE_MODELS_BUILDER_H
#define CORE_MODELS_BUILDER_H

#include "core/models/adapter.h"
#include "core/ops/build.h"

#define AT_SCOPE_TEXT 256

struct at_builder {
    struct at_graph *g;
    struct at_params *params;
    const struct at_adapter *adapters;
    int adapter_count;
    struct at_node *gate; // (N): what each sample takes the adapters' outputs times: 1, or 0 for off. NULL: 1 everywhere
    int replica; // whose gradients the graph adds to
    // Told about every layer that could have an adapter: its name and its weight's shape in memory, (out,in) of a linear
    // layer, (out,kh,kw,in) of a convolution. May be NULL.
    void (*layer)(void *priv, const char *name, struct at_shape weight);
    void *layer_priv;
    char scope[AT_SCOPE_TEXT];
    int length;
};

// Opens a level of names; levels may hold dots. Pop closes the last push.
AT_PRINTF(2, 3) void at_scope_push(struct at_builder *b, const char *fmt, ...);
void at_scope_pop(struct at_builder *b);

struct at_node *at_build_param(struct at_builder *b, const char *name, struct at_shape shape, enum at_layout layout,
                               struct at_init init);
// y = x w^T + bias over the last dimension; weights NAME.weight (out,in), NAME.bias (out).
struct at_node *at_build_linear(struct at_builder *b, const char *name, struct at_node *x, int64_t out, bool bias);
struct at_build_conv_params {
    int64_t out;
    int kernel, stride, pad; // stride 0: 1
    bool pad_end_only;       // pad one row and column at bottom and right only (the autoencoder's downsampling)
    bool zero;               // initialise with zeros
    bool no_bias;            // not for 1x1
};
// NAME.weight (out,kh,kw,in), NAME.bias. A 1x1 convolution of stride 1 becomes a matrix product.
struct at_node *at_build_conv(struct at_builder *b, const char *name, struct at_node *x,
                              const struct at_build_conv_params *p);
struct at_node *at_build_group_norm(struct at_builder *b, const char *name, struct at_node *x, int groups, float eps,
                                    enum at_act act);
struct at_node *at_build_layer_norm(struct at_builder *b, const char *name, struct at_node *x, float eps);
// Rows of NAME.weight (rows,width) chosen by ids.
struct at_node *at_build_embedding(struct at_builder *b, const char *name, struct at_node *ids, int64_t rows,
                                   int64_t width, float deviation);

#endif
