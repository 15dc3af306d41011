// SPDX-License-Identifier: Apache-2.0
// Checkpoints of a run: RUN/checkpoint-NNNNNN/ with state.safetensors (weights, moments, averages, in memory layout),
// state.json (step, method, seed, a hash of the sets' names and shapes) and what the method saves for users.
#ifndef PIPELINES_TRAIN_CHECKPOINT_H
#define PIPELINES_TRAIN_CHECKPOINT_H

#include "pipelines/train/train.h"

// The step of the newest complete checkpoint in a run folder; -1: none.
int64_t at_checkpoint_newest(const char *run, struct at_log *log);
// Removes checkpoint-NNNNNN.tmp, what saves that were cut off have left.
AT_NODISCARD bool at_checkpoint_clean(const char *run, struct at_log *log);
// Written under a temporary name, which is removed on failure, and renamed whole; then all but the last `keep` (0: all) are removed.
AT_NODISCARD bool at_checkpoint_save(const struct at_train_method *method, const struct at_train_params *params,
                                     struct at_optimizer *optimizer, int64_t step, struct at_log *log);
// Restores weights and optimiser state.
AT_NODISCARD bool at_checkpoint_load(const struct at_train_method *method, const struct at_train_params *params,
                                     struct at_optimizer *optimizer, int64_t step, struct at_log *log);
// Calls method->save into `dir` with the weights to use: the averages where there are some.
AT_NODISCARD bool at_checkpoint_export(const struct at_train_method *method, struct at_optimizer *optimizer,
                                       const char *dir, struct at_log *log);

#endif
