// SPDX-License-Identifier: Apache-2.0
// AdamW over whole parameter sets, with gradient clipping by global norm and an optional moving average.
#ifndef CORE_OPTIM_OPTIMIZER_H
#define CORE_OPTIM_OPTIMIZER_H

#include "core/models/params.h"

#define AT_OPTIMIZER_SETS 4

struct at_optimizer_params {
    double beta1, beta2, eps, weight_decay; // as torch.optim.AdamW
    double clip;                            // largest global gradient norm; 0: no clipping
    double ema;                             // decay of the moving average of the weights; 0: none
    double rates[AT_OPTIMIZER_SETS];        // what each set takes the learning rate times; 0: 1
};

struct at_optimizer;

// For trainable, allocated sets; they must outlive it. Moments start at zero, averages at the weights.
struct at_optimizer *at_optimizer_create(struct at_params *const *sets, int count,
                                         const struct at_optimizer_params *params, struct at_log *log);
void at_optimizer_destroy(struct at_optimizer **o);

// One step. Sums the gradients of all replicas, times `scale` (1 / accumulated batches), clips, updates the weights and
// zeroes the gradients. *norm (may be NULL) is the norm before clipping. Gradients that are not finite fail, and leave
// the weights as they were. `step` counts from 1.
AT_NODISCARD bool at_optimizer_step(struct at_optimizer *o, int64_t step, double lr, double scale, double *norm);

// The flat vectors that a resumed run needs, of the set with index `set`, in the order of at_params_read.
enum at_vector {
    AT_VECTOR_WEIGHTS,
    AT_VECTOR_MOMENTS, // the first ones, then the second ones
    AT_VECTOR_AVERAGE,
    AT_VECTORS
};
int64_t at_optimizer_count(const struct at_optimizer *o, int set, enum at_vector vector); // 0: there is none
AT_NODISCARD bool at_optimizer_read(const struct at_optimizer *o, int set, enum at_vector vector, float *values);
AT_NODISCARD bool at_optimizer_write(struct at_optimizer *o, int set, enum at_vector vector, const float *values);

#endif
