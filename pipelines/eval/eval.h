// SPDX-License-Identifier: Apache-2.0
// `attune eval`: models drawn on the same prompts and seeds, scored by rewards, compared in pairs.
//
// The unit of work is a batch of drawings, struct at_drawings: every prompt with every seed, by one model, with a score
// for each reward. Prompt i with seed k has the noise of seed first_seed + i * seeds + k, so that no two images of a
// comparison share noise, but both models do, image by image.
#ifndef PIPELINES_EVAL_EVAL_H
#define PIPELINES_EVAL_EVAL_H

#include "pipelines/eval/compare.h"
#include "pipelines/rewards/reward.h"
#include "pipelines/sample/sample.h"

#define AT_EVAL_REWARDS 8

struct at_eval_params {
    const char *const *prompts;
    size_t prompt_count;
    size_t seeds;        // images a prompt
    uint64_t first_seed;
    const struct at_reward *const *rewards; // the first is the one that is compared on the console
    size_t reward_count;                    // 1 .. AT_EVAL_REWARDS
    int steps;                              // of the sampler; 0: its default
    double cfg, cfg_rescale;                // guidance; 0: AT_EVAL_CFG, and none
    enum at_rng_kind rng;
    int width, height;                      // 0: the model's own size
    int batch;                              // images at once; 0: chosen
    double tolerance, confidence;           // as in compare.h
    size_t rounds;
    bool keep;                              // keep the pictures as well as the scores
    // Work done of one model, 0 .. 1; false stops with AT_ERROR_INTERRUPTED. May be NULL.
    bool (*progress)(void *priv, const char *label, double done);
    void *priv;
};

#define AT_EVAL_CFG 4.0

// What one model drew.
struct at_drawings {
    size_t prompts, seeds, rewards;
    int width, height;
    double *scores;  // (rewards, prompts, seeds), on the picture rounded to 8 bits
    uint8_t *pixels; // (prompts, seeds, height, width, 3), or NULL
};

// The seed of an image.
uint64_t at_eval_seed(const struct at_eval_params *params, size_t prompt, size_t seed);
// Draws and scores with an open model; loras may be NULL. `truth` may be NULL if no reward needs it. `label` names the
// model in messages. On failure *out is empty; else freed by at_drawings_finish.
AT_NODISCARD bool at_eval_draw(struct at_model *m, struct at_lora *const *loras, int lora_count, const char *label,
                               const struct at_eval_params *params, struct at_truth *truth, struct at_drawings *out);
void at_drawings_finish(struct at_drawings *d); // a zeroed one is fine
// The scores of one reward, (prompts, seeds).
const double *at_drawings_scores(const struct at_drawings *d, size_t reward);
// A kept picture as an image of its own, freed with at_image_finish.
AT_NODISCARD bool at_drawings_image(const struct at_drawings *d, size_t prompt, size_t seed, struct at_image *image,
                                    struct at_log *log);
// Share of the images whose prompt is among the `top` nearest names (truth.h). Needs the pictures.
AT_NODISCARD bool at_drawings_retrieval(const struct at_drawings *d, const char *const *prompts,
                                        const struct at_truth *truth, size_t top, double *share, struct at_log *log);
// Compares b with a by one reward.
AT_NODISCARD bool at_eval_compare(const struct at_eval_params *params, size_t reward, const struct at_drawings *a,
                                  const struct at_drawings *b, struct at_comparison *out, struct at_log *log);

// Replaces the CSV file `path`: prompt, seed, reward, then a column a model. Names with commas or quotes are quoted.
AT_NODISCARD bool at_eval_csv(const char *path, const struct at_eval_params *params, const char *const *labels,
                              const struct at_drawings *const *drawings, size_t count, struct at_log *log);

struct at_eval_adapter {
    const char *file;
    float strength;
};

// One side of `attune eval`.
struct at_eval_side {
    const char *label;
    const char *model; // NULL: the embedded one
    const struct at_source_options *reading; // of its files; NULL: as they are
    struct at_eval_adapter adapters[AT_MODEL_ADAPTERS];
    int adapter_count;
};
// The whole job: opens both models one after the other (a once only, if b differs by its adapters alone), draws, compares
// by every reward into comparisons[reward_count]. csv: file to write, or NULL.
AT_NODISCARD bool at_eval(struct at_device *dev, const struct at_eval_side *a, const struct at_eval_side *b,
                          const struct at_eval_params *params, const char *csv, struct at_comparison *comparisons,
                          struct at_log *log);

#endif
