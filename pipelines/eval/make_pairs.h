// SPDX-License-Identifier: Apache-2.0
// `attune data make pairs`: preference pairs of a model's own samples, labelled by a reward.
//
// For every name of the embedded model that is not held out, draws `seeds` pictures, rounds them to 8 bits, scores them
// and pairs them; the picture with the higher score wins. The folder holds pairs.jsonl (datasets/pairs.h reads it), the
// pictures under images/, and make.json, which says how it was made. A pure function of model, settings and seed.
#ifndef PIPELINES_EVAL_MAKE_PAIRS_H
#define PIPELINES_EVAL_MAKE_PAIRS_H

#include "pipelines/eval/eval.h"

enum at_pairing {
    AT_PAIRING_NEIGHBOURS, // (0,1), (2,3) ...; an odd last picture stays alone
    AT_PAIRING_EXTREMES,   // the best against the worst of a name
};

struct at_make_pairs_params {
    const char *model; // NULL: the embedded one
    const struct at_source_options *reading; // of its files; NULL: as they are
    const char *out;   // folder, new or empty
    const struct at_reward *rule; // NULL: taste
    enum at_pairing pairing;
    size_t names;        // how many; 0: all that are not held out
    size_t seeds;        // pictures a name; 0: 4
    uint64_t first_seed; // of the noise, see eval.h
    int steps;           // of the sampler; 0: its default
    double cfg;          // 0: AT_EVAL_CFG
    int batch;
    double tolerance; // scores that differ by no more make no pair
    bool (*progress)(void *priv, const char *label, double done); // as in eval.h
    void *priv;
};

struct at_make_pairs_result {
    size_t names, pictures, pairs, ties;
};

// The folder appears whole or not at all. False with the reason logged.
AT_NODISCARD bool at_make_pairs(struct at_device *dev, const struct at_make_pairs_params *params,
                                struct at_make_pairs_result *result, struct at_log *log);

// The part after drawing: pairs the drawings, whose first reward is the rule, and writes the folder. prompts as in the
// drawings; the pictures must have been kept.
AT_NODISCARD bool at_make_pairs_write(const struct at_make_pairs_params *params, const struct at_eval_params *eval,
                                      const struct at_drawings *drawings, struct at_make_pairs_result *result,
                                      struct at_log *log);

#endif
