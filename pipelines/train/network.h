// SPDX-License-Identifier: Apache-2.0
// A denoiser and its error as a graph, for at_spread_create.
#ifndef PIPELINES_TRAIN_NETWORK_H
#define PIPELINES_TRAIN_NETWORK_H

#include "pipelines/model/model.h"
#include "pipelines/model/spread.h"
#include "pipelines/train/captions.h"

struct at_network {
    const struct at_model *m;
    const struct at_captions *captions;
    const struct at_adapter *adapter; // of the denoiser; NULL: none
    int side;                         // of the latents
    bool gate; // the last input (B) is what each sample takes all adapters times, the text encoders' too (builder.h)
};

// in: x (B,side,side,C), t (B), target as x, then what captions are told by, and the gate; out: mean squared error (B).
// priv: the network.
AT_NODISCARD bool at_network_build(const void *priv, struct at_graph *g, int worker, int batch,
                                   struct at_ports *ports);

#endif
