// SPDX-License-Identifier: Apache-2.0
// The inside of pairs.h: what is checked about files, and pairs in two folders.
#ifndef DATASETS_PAIRS_CHECK_H
#define DATASETS_PAIRS_CHECK_H

#include "datasets/rows.h"
#include "datasets/pairs.h"

// Appends a pair whose strings live in pairs->strings; a NULL among prompt, win and lose means that memory ran out.
AT_NODISCARD bool at_pairs_add(struct at_log *log, struct at_pairs *pairs, struct at_pair pair);
// Looks at the files of every pair.
void at_pairs_check(struct at_problems *problems, const char *path, const struct at_pairs_params *params,
                    const struct at_pairs *pairs);
// Reads DIR/w and DIR/l.
AT_NODISCARD bool at_pairs_folders(struct at_log *log, const char *dir, const struct at_pairs_params *params,
                                   struct at_pairs *pairs);

#endif
