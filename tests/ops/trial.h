// SPDX-License-Identifier: Apache-2.0
// One test case of an op on one device: a graph of its inputs, the op, and, if asked for, its gradient.
#ifndef TESTS_OPS_TRIAL_H
#define TESTS_OPS_TRIAL_H

#include "core/graph/device.h"
#include "core/ops/op.h"

#define OPS_DY AT_ARITY // the slot of the output's gradient, behind those of the inputs
#define OPS_SLOTS (AT_ARITY + 1)
#define OPS_NAME 512

// The values of a case: every slot as doubles that a float holds exactly (integers too). NULL: absent.
struct ops_data {
    double *x[OPS_SLOTS];
    int64_t n[OPS_SLOTS];
};

struct ops_trial {
    const struct at_op *op;
    const struct at_op_case *c;
    struct at_device *dev;
    struct at_graph *g;
    struct at_node *node[OPS_SLOTS];  // the inputs, and dy
    struct at_node *y, *dx[AT_ARITY]; // dx[i] NULL: not differentiated, or y does not depend on it
    struct at_store *store;           // holds input 0 where the op updates it, between guards
    struct at_exec *exec;
};

struct ops_trial_params {
    bool grad;    // with the gradient, unless the op or the case has none
    bool guarded; // every tensor in memory of its own, poisoned and fenced with sentinels; nothing fused
};

// NULL on failure, which is logged.
struct ops_trial *ops_trial_create(struct at_device *dev, const struct at_op *op, const struct at_op_case *c,
                                   const struct ops_trial_params *params, struct at_log *log);
void ops_trial_destroy(struct ops_trial **t);
// Writes all slots and runs.
AT_NODISCARD bool ops_trial_run(struct ops_trial *t, const struct ops_data *data);
// Reads a node's values; all bits of the oracle's doubles. NULL if that fails; at_free it.
double *ops_trial_read(const struct ops_trial *t, const struct at_node *n);
// After a guarded run: that no sentinel changed, and no input. false with the place in `why`.
AT_NODISCARD bool ops_trial_intact(const struct ops_trial *t, const struct ops_data *data, char *why, size_t size);

// Whether a case is tested with its gradient.
bool ops_case_differentiable(const struct at_op *op, const struct at_op_case *c);
// Whether input i is differentiated.
bool ops_case_wants(const struct at_op *op, const struct at_op_case *c, int i);
// All that reproduces a case.
const char *ops_case_text(const struct at_op *op, const struct at_op_case *c, uint64_t seed, char text[OPS_NAME]);
// Random values; dy has `y_count` of them in -1 .. 1.
AT_NODISCARD bool ops_data_init(struct ops_data *d, const struct at_op_case *c, int64_t y_count, uint64_t seed);
void ops_data_finish(struct ops_data *d);

#endif
