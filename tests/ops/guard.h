// SPDX-License-Identifier: Apache-2.0
// Memory in which an overrun shows: every tensor and scratch area of a plan lies between sentinels, nothing shares
// memory but what must (views, updates), and all of it is NaN before the run.
#ifndef TESTS_OPS_GUARD_H
#define TESTS_OPS_GUARD_H

#include "core/graph/device.h"

#define OPS_GUARD 64 // reals before and behind each area

// As at_exec_create, without fusion; freed by at_exec_destroy.
struct at_exec *ops_guard_exec(struct at_device *dev, struct at_graph *g, struct at_log *log);
// Whether every sentinel of the plan's memory still stands. true in the oracle, whose integers are packed otherwise.
AT_NODISCARD bool ops_guard_intact(const struct at_exec *exec, char *why, size_t size);
// Whether a node in the plan's memory holds the values x.
AT_NODISCARD bool ops_guard_equal(const struct at_exec *exec, const struct at_node *n, const double *x, char *why,
                                  size_t size);
// A store of n reals at OPS_GUARD, with sentinels around.
struct at_store *ops_guard_store(struct at_device *dev, int64_t n, struct at_log *log);
AT_NODISCARD bool ops_guard_store_intact(const struct at_store *store, char *why, size_t size);

#endif
