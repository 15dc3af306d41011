// SPDX-License-Identifier: Apache-2.0
// The modes of the driver that live in files of their own. Each returns the exit status.
#ifndef TESTS_OPS_OPS_H
#define TESTS_OPS_OPS_H

#include "core/base/log.h"
#include "core/ops/op.h"

// The op of a name, or NULL.
const struct at_op *ops_find(const char *name);
int ops_selftest(struct at_log *log);

#endif
