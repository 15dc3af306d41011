// SPDX-License-Identifier: Apache-2.0
// The networks of Diffusion-DPO as graphs, for at_spread_create.
#ifndef PIPELINES_TRAIN_DPO_NETWORK_H
#define PIPELINES_TRAIN_DPO_NETWORK_H

#include "pipelines/model/model.h"
#include "pipelines/model/spread.h"

// The error of one network: which weights and adapter is what differs between policy and reference.
struct at_dpo_network {
    const struct at_model *m;
    const struct at_adapter *adapter; // NULL: none
    int side, tokens;                 // of the latents, and of a prompt
};

// in: x (B,side,side,C), t (B), rows of condition.h (B,floats), target as x; out: mean squared error (B). priv: the network.
AT_NODISCARD bool at_dpo_network_build(const void *priv, struct at_graph *g, int worker, int batch,
                                       struct at_ports *ports);

#endif
