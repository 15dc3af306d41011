// SPDX-License-Identifier: Apache-2.0
// Making a training step fit into memory, and forecasting what a job takes before it runs.
//
// A job is tried on a dry device (core/graph/dry.h): as it is; then with its batch in parts, one after the other, whose
// gradients add up to the same, which costs nothing. Where one sample is still too much, values are computed again instead
// of kept: those of blocks of the network, as few as needed, or those of one picture of a pair while the other has its
// gradient taken, or both; of these the way of the fewest FLOPs is taken. If nothing of that fits, the same goes for
// smaller and smaller tiles of the autoencoder, where the job has one.
#ifndef PIPELINES_TRAIN_FIT_H
#define PIPELINES_TRAIN_FIT_H

#include "core/graph/dry.h"
#include "core/graph/gradient.h"

// How a step is run. All 0: at once, cheap operators computed again.
struct at_fit {
    int parts;    // of a batch; 0: 1
    bool apart;   // the pictures of a pair one after the other; only of batches that are one pair
    int segments; // of the network that are computed again (gradient.h)
    int tiling;   // level of the autoencoder's tiles (tiles.h)
};

// What a dry run found. Of training: of a step, and of what comes before.
struct at_forecast {
    double setup_flops, step_flops;
    size_t checkpoint; // bytes of the trained state in a checkpoint
};

struct at_fit_params {
    struct at_device *dev; // the one that will do the work; nothing is allocated on it
    size_t limit;          // bytes, of which `allocated` are taken; 0: what the device has, or none if not known
    int batch;             // that may be cut into equal parts
    bool pairs;            // samples are pairs, whose pictures may be taken apart
    int tilings;           // levels of tiles that may be tried; 0: 1, the level 0
    // Runs the job on the dry device, as `fit` says. False: it failed, with the reason in log.
    bool (*attempt)(void *priv, struct at_device *dry, const struct at_fit *fit, struct at_log *log);
    void *priv;
};

// Chooses *fit. False if nothing fits: the log says what the least is, and what would help. An attempt that fails for
// another reason than memory is no failure here: the real run will say it.
AT_NODISCARD bool at_fit_choose(const struct at_fit_params *params, struct at_fit *fit, struct at_log *log);
// What a gradient is to compute again.
struct at_recompute at_fit_recompute(const struct at_fit *fit);

#endif
