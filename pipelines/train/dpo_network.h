// SPDX-License-Identifier: Apache-2.0
// The network of Diffusion-DPO: the errors of a policy and of the reference it began as.
//
// An adapter is trained on frozen weights, and the reference is the policy's own graph with the adapter's output times
// 0: a fresh adapter begins as the reference to the bit, whatever the device rounds. Where all weights are trained, the
// reference is a graph of other weights.
#ifndef PIPELINES_TRAIN_DPO_NETWORK_H
#define PIPELINES_TRAIN_DPO_NETWORK_H

#include "pipelines/model/model.h"
#include "pipelines/model/spread.h"
#include "pipelines/train/captions.h"

struct at_dpo_network_params {
    struct at_device *dev;
    const struct at_model *m;         // the policy; as many replicas as at_spread_replicas(dev, at_once) says
    const struct at_adapter *adapter; // trained, replicas alike; NULL: all weights of m
    const struct at_model *frozen;    // the reference, if there is no adapter
    struct at_captions *captions;     // of as many items; as they are at a run
    int side;                         // of the latents
    int items, at_once;               // pictures a batch, and kept for the gradient at once (spread.h)
    struct at_recompute recompute;
};

// What a batch is beside its captions, `items` rows each.
struct at_dpo_batch {
    const float *x, *target; // (side,side,C)
    const float *t;          // timesteps
};

struct at_dpo_network;

struct at_dpo_network *at_dpo_network_create(const struct at_dpo_network_params *params, struct at_log *log);
void at_dpo_network_destroy(struct at_dpo_network **n);
// Mean squared errors of each item against its target.
AT_NODISCARD bool at_dpo_network_run(struct at_dpo_network *n, const struct at_dpo_batch *batch, float *policy,
                                     float *reference);
// After a run of this batch: adds the gradient of sum_i seeds[i] policy[i] to that of what is trained.
AT_NODISCARD bool at_dpo_network_backward(struct at_dpo_network *n, const struct at_dpo_batch *batch,
                                          const float *seeds);
// FLOPs of a run and a backward.
double at_dpo_network_flops(const struct at_dpo_network *n);

#endif
