// SPDX-License-Identifier: Apache-2.0
// The true pictures of the names that the embedded model learned: emoji drawn large, centred and on white
// (at_emoji_truth), reduced to 16x16. What rewards compare samples with.
#ifndef PIPELINES_REWARDS_TRUTH_H
#define PIPELINES_REWARDS_TRUTH_H

#include "datasets/emoji.h"

#define AT_TRUTH_SIDE 16                                  // pixels of a reduced picture
#define AT_TRUTH_VALUES (AT_TRUTH_SIDE * AT_TRUTH_SIDE * 3) // numbers in one

struct at_truth;

// Draws all names of the rule (NULL: those of the embedded model) at 128 pixels and reduces them. NULL with the reason
// logged when font or table are missing, or there is no memory. One thread at a time.
struct at_truth *at_truth_open(struct at_log *log, const struct at_emoji_rule *rule);
// Frees it and sets *truth to NULL; a pointer to NULL is fine.
void at_truth_close(struct at_truth **truth);

// The names, in the order of the set.
const struct at_emoji_set *at_truth_names(const struct at_truth *truth);
// The reduced true picture of a prompt, AT_TRUTH_VALUES numbers in 0 .. 1, the truth's own. NULL for a prompt that is
// none of the names, which is an input error that suggests the nearest.
const float *at_truth_find(struct at_log *log, const struct at_truth *truth, const char *prompt);

// Reduces (height,width,3) to 16x16 by the mean over each cell; a pixel that lies across a border counts in part.
// Rectangular pictures are squeezed. Smaller than 16 pixels is fine too.
void at_truth_reduce(const float *rgb, int width, int height, float *out);
// Mean squared difference of two reduced pictures, in units of the range -1 .. 1.
double at_truth_error(const float *a, const float *b);

// Where the right name stands when all names are ordered by the distance of their true picture to this one: 1 is the
// nearest; equal distances count against it. 0 with the reason logged when the prompt is none of the names.
size_t at_truth_rank(struct at_log *log, const struct at_truth *truth, const char *prompt, const float *rgb, int width,
                     int height);

#endif
