// SPDX-License-Identifier: Apache-2.0
// Diffusion-DPO (arXiv 2311.12908, eq. 14, T w(t) folded into beta, the 1/2 of the released code):
//     z = -1/2 beta ((m_w - m_l) - (r_w - r_l)),  L = mean over pairs of -log sigmoid(z)
// With label smoothing s: L = mean of -(1 - s) log sigmoid(z) - s log sigmoid(-z) (conservative DPO).
#include "pipelines/objectives/objective.h"

#include <math.h>

void at_objective_dpo(const struct at_objective_params *params, const struct at_objective_batch *batch, double *dm,
                      struct at_objective_result *result)
{
    size_t n = batch->pairs;
    const double *m = batch->policy, *r = batch->reference;
    double half_beta = 0.5 * at_objective_beta(params), s = params->label_smoothing;
    for (size_t i = 0; i < n; i++) {
        double z = -half_beta * ((m[i] - m[n + i]) - (r[i] - r[n + i]));
        double weight = (batch->weights ? batch->weights[i] : 1) / (double)n;
        result->loss -= weight * ((1 - s) * at_log_sigmoid(z) + s * at_log_sigmoid(-z));
        // dL/dz = s sigmoid(z) - (1 - s) sigmoid(-z); dz/dm_w = -beta/2, dz/dm_l = +beta/2
        double dz = weight * (s * exp(at_log_sigmoid(z)) - (1 - s) * exp(at_log_sigmoid(-z)));
        dm[i] = -half_beta * dz;
        dm[n + i] = half_beta * dz;
    }
}
