// SPDX-License-Identifier: Apache-2.0
// Preference pairs as a model sees them: posterior moments of both pictures, and the prompt among the captions.
#ifndef PIPELINES_TRAIN_PAIR_SET_H
#define PIPELINES_TRAIN_PAIR_SET_H

#include "datasets/pairs.h"
#include "pipelines/model/condition.h"
#include "pipelines/model/model.h"
#include "pipelines/train/captions.h"
#include "pipelines/train/train.h"

struct at_pair_set_params {
    const char *path;  // of the pairs (datasets/pairs.h)
    int size;          // side of the pictures in pixels
    struct at_captions *captions; // to which prompts are added
    bool coin;         // labels drawn by coin, a function of (seed, line): a control
    bool flip;         // mirrored pictures too
    double held_out;   // share of the prompts that is kept apart
    uint64_t seed;
    const char *cache; // folder of encoded pictures and texts, by content (cache.h); NULL: none
    int chunk;         // pairs encoded at once; 0: 8
    const struct at_train_params *train; // asked between pictures whether to go on; NULL: always
};

struct at_pair_set {
    int64_t count, train; // pairs; the first `train` are to be trained on, the others are held out
    size_t latent;        // floats of a latent
    int pixels;           // of a latent
    // Moments of (pair, side, mirrored): side 0 is the winner. 2 * latent floats each.
    float *moments;
    int sides;            // variants a pair: 2, or 4 with mirrored ones
    int32_t *prompt;      // of a pair: the number of its caption
    struct at_sizes *sizes; // of a pair: both pictures'
};

// Encodes pictures and captions with the model, which must have all its parts.
struct at_pair_set *at_pair_set_open(struct at_model *m, const struct at_pair_set_params *params);
void at_pair_set_close(struct at_pair_set **set);
const float *at_pair_moments(const struct at_pair_set *s, int64_t pair, int side, bool mirrored);

#endif
