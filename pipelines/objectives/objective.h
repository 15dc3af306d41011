// SPDX-License-Identifier: Apache-2.0
// Objectives: scalar functions of squared errors, on the host, in double. The train loop measures the errors, an
// objective turns them into the loss and its derivatives, and the device carries those through the network.
//
//     struct at_objective_params p = {.method = AT_OBJECTIVE_DPO, .beta = 2000};
//     struct at_objective_batch b = {.pairs = 4, .policy = m, .reference = r};
//     if (!at_objective_evaluate(&p, &b, dm, &result, NULL, log)) ...
//
// A batch of B pairs is laid out winners [0, B), then losers [B, 2B). An error is the mean over a sample's elements of
// (output - target)^2 in epsilon space (at_schedule_eps_weight converts). Winner and loser share noise and timestep.
#ifndef PIPELINES_OBJECTIVES_OBJECTIVE_H
#define PIPELINES_OBJECTIVES_OBJECTIVE_H

#include "core/base/log.h"

#include <stddef.h>

enum at_objective_method {
    AT_OBJECTIVE_DPO, // Diffusion-DPO, arXiv 2311.12908
    AT_OBJECTIVE_SFT, // denoising error of the winners; the losers are only measured
};

// Zero = DPO with the default beta and no smoothing.
struct at_objective_params {
    enum at_objective_method method;
    // Strength of the pull to the reference, with the factor 1/2 inside (the convention of the paper's released code):
    // beta here acts as beta / 2 in tools that leave the 1/2 out. 0 = 2000.
    double beta;
    double label_smoothing; // share of labels taken to be wrong, 0 .. 0.5 (excluded)
};

struct at_objective_batch {
    size_t pairs;            // B
    const double *policy;    // m[2B], of the model that is trained
    const double *reference; // r[2B], of the reference; may be NULL for SFT
    const double *weights;   // per-pair weights [B], or NULL for ones; the loss is divided by B, not by their sum
};

// A z this small is rounding: errors of size 1 measured in float, times beta / 2 of the usual size.
#define AT_OBJECTIVE_TIE 1e-3

struct at_objective_result {
    double loss;
    double accuracy; // share of pairs with z > 0; |z| <= AT_OBJECTIVE_TIE counts one half. 0.5 where there is no reference
    double margin;   // mean of z; 0 where there is no reference
    double policy_win, policy_lose, reference_win, reference_lose; // mean errors; a missing one is 0
};

// Loss, metrics and dm[2B] = d loss / d policy. False with the reason in the log when a parameter is out of range or an
// error is not finite (the message names the pair and the side; *bad, if not NULL, gets its index in [0, 2B), or 2B
// when the cause lies elsewhere). Then dm and result are not to be used.
AT_NODISCARD bool at_objective_evaluate(const struct at_objective_params *params,
                                        const struct at_objective_batch *batch, double *dm,
                                        struct at_objective_result *result, size_t *bad, struct at_log *log);

// beta after the default is applied.
double at_objective_beta(const struct at_objective_params *params);
// One line for logs and run files that states the convention: beta, the 1/2, the reduction.
void at_objective_describe(const struct at_objective_params *params, char *text, size_t bytes);
// log(sigmoid(z)), without overflow at either end.
double at_log_sigmoid(double z);

// The methods, called through at_objective_evaluate, which checks the input first.
void at_objective_dpo(const struct at_objective_params *params, const struct at_objective_batch *batch, double *dm,
                      struct at_objective_result *result);
void at_objective_sft(const struct at_objective_params *params, const struct at_objective_batch *batch, double *dm,
                      struct at_objective_result *result);

#endif
