// SPDX-License-Identifier: Apache-2.0
// Supervised fine-tuning on the winners: L = mean over pairs of m_w.
#include "pipelines/objectives/objective.h"

void at_objective_sft(const struct at_objective_params *params, const struct at_objective_batch *batch, double *dm,
                      struct at_objective_result *result)
{
    (void)params;
    size_t n = batch->pairs;
    for (size_t i = 0; i < n; i++) {
        double weight = (batch->weights ? batch->weights[i] : 1) / (double)n;
        result->loss += weight * batch->policy[i];
        dm[i] = weight;
        dm[n + i] = 0;
    }
}
