// SPDX-License-Identifier: Apache-2.0
// The noise schedule of a discrete-time diffusion model, read from a diffusers scheduler_config.json.
//
//     struct at_schedule *s = at_schedule_load("model/scheduler/scheduler_config.json", log);
//     int t[1000];
//     int n = at_schedule_timesteps(s, 25, t);      // descending; then core/diffusion/ddim.h
//     at_schedule_destroy(&s);
//
// The forward process is x_t = sqrt(a_t) x0 + sqrt(1 - a_t) eps, with a_t the cumulative product of 1 - beta.
#ifndef CORE_DIFFUSION_SCHEDULE_H
#define CORE_DIFFUSION_SCHEDULE_H

#include "core/base/log.h"

#include <stdbool.h>
#include <stddef.h>

enum at_beta_schedule {
    AT_BETA_LINEAR,
    AT_BETA_SCALED_LINEAR, // linear in sqrt(beta)
    AT_BETA_SQUAREDCOS,    // "squaredcos_cap_v2": a_t follows a squared cosine, beta <= 0.999
};

// What the network puts out.
enum at_prediction {
    AT_PREDICTION_EPSILON,
    AT_PREDICTION_V, // v = sqrt(a) eps - sqrt(1 - a) x0
    AT_PREDICTION_SAMPLE,
};

// By enum: "epsilon", "v_prediction", "sample", NULL.
extern const char *const at_prediction_names[];

// How a run is sampled (sampler.h).
enum at_sampler_kind {
    AT_SAMPLER_CONFIG, // as scheduler_config.json says
    AT_SAMPLER_DDIM,
    AT_SAMPLER_DDPM,
    AT_SAMPLER_EULER,
    AT_SAMPLER_EULER_ANCESTRAL,
    AT_SAMPLER_DPMPP_2M,
    AT_SAMPLER_LCM,
};

enum at_spacing { AT_SPACING_LEADING, AT_SPACING_TRAILING, AT_SPACING_LINSPACE };

// The fields of scheduler_config.json that matter here. Start from at_schedule_defaults.
struct at_schedule_config {
    const char *name; // in messages; NULL: "scheduler"
    int train_steps; // num_train_timesteps
    double beta_start, beta_end;
    enum at_beta_schedule beta_schedule;
    const float *trained_betas; // train_steps values that replace the three fields above, or NULL; copied
    enum at_prediction prediction;
    enum at_spacing spacing;
    int steps_offset;
    bool set_alpha_to_one; // the a before timestep 0 is 1 (true) or a_0 (false)
    bool clip_sample;
    double clip_range;
    bool zero_snr; // rescale_betas_zero_snr: shift and scale so that the last a is 0
    // Of single samplers.
    enum at_sampler_kind sampler; // that the file's class is; DDIM where it has no sampler here
    bool karras;                  // use_karras_sigmas (Euler, DPM-Solver++)
    bool final_sigma_min;         // final_sigmas_type "sigma_min" (Euler, DPM-Solver++)
    bool euler_at_final;          // the last step is of first order (DPM-Solver++)
    bool lower_order_final;       // the same in runs of less than 15 steps (DPM-Solver++)
    bool large_variance;          // variance_type "fixed_large" (DDPM)
    int original_steps;           // original_inference_steps (LCM)
    double timestep_scaling;      // (LCM)
};

// Read freely, do not write.
struct at_schedule {
    struct at_schedule_config config; // trained_betas and name are NULL here
    float *alphas;                    // a_t, train_steps values
    float final_alpha;                // a before timestep 0
    const char *foreign;              // the file's class, if DDIM stands in for it; else NULL
    char *unfit;                      // why the file's own sampler cannot be run ("FILE: field ..."); else NULL
};

// The values diffusers takes for absent fields: those of DDIMScheduler, and of another sampler's class.
struct at_schedule_config at_schedule_defaults(void);
struct at_schedule_config at_schedule_defaults_of(enum at_sampler_kind sampler);

// NULL with the reason in the log: a value out of range, or no memory.
struct at_schedule *at_schedule_create(const struct at_schedule_config *config, struct at_log *log);
// From the text of a scheduler_config.json; `name` stands in messages. The class named there chooses the sampler and the
// defaults of absent fields. DDIM stands in for a class without a sampler here (PNDMScheduler), which `foreign` tells.
// What the file's sampler is asked for and cannot do here stands in `unfit`: another sampler takes the file. It fails
// where the schedule itself is of another kind: a class that is not known, flow matching, dynamic thresholding.
struct at_schedule *at_schedule_parse(const char *text, size_t bytes, const char *name, struct at_log *log);
struct at_schedule *at_schedule_load(const char *path, struct at_log *log);
void at_schedule_destroy(struct at_schedule **schedule);

// The n timesteps of a sampling run, descending, into `out`; returns how many were written (n), or 0 with the reason in
// the log when n is out of range or the offset leads past the last training step. As diffusers, except that `trailing`
// never yields the timestep -1 that rounding gives there for some n (61, 103, ...).
AT_NODISCARD int at_schedule_timesteps(const struct at_schedule *schedule, int n, int *out, struct at_log *log);
// The same for DDIM inversion: ascending. `linspace` has no inversion in diffusers; here it is the mirrored sampling
// run.
AT_NODISCARD int at_schedule_inverse_timesteps(const struct at_schedule *schedule, int n, int *out, struct at_log *log);
// The timestep that follows t in a sampling run of n steps; negative at the end, where final_alpha holds.
int at_schedule_previous(const struct at_schedule *schedule, int t, int n);

// a_t; t < 0 gives final_alpha and t past the end the last value.
double at_schedule_alpha(const struct at_schedule *schedule, int t);
// Signal-to-noise ratio a / (1 - a).
double at_schedule_snr(const struct at_schedule *schedule, int t);

// x0, eps and v as linear functions of the noisy sample x and the network's output y: x0 = x0_x x + x0_y y, and so on.
// A coefficient is infinite where the schedule does not determine the quantity (a = 0 under epsilon prediction,
// a = 1 under sample prediction); `finite` says that none is.
struct at_conversion {
    double x0_x, x0_y, eps_x, eps_y, v_x, v_y;
    bool finite;
};
// At cumulative product `alpha`.
struct at_conversion at_conversion_at(enum at_prediction prediction, double alpha);

// Turns a squared error of the network's output into one of the noise it implies: |eps_hat - eps|^2 = w |y_hat - y|^2,
// w = 1 (epsilon), a (v), a / (1 - a) (sample). Diffusion-DPO's loss is in epsilon space.
double at_schedule_eps_weight(const struct at_schedule *schedule, int t);

#endif
