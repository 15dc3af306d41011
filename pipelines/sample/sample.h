// SPDX-License-Identifier: Apache-2.0
// Images from prompts: any sampler, with classifier-free guidance.
#ifndef PIPELINES_SAMPLE_SAMPLE_H
#define PIPELINES_SAMPLE_SAMPLE_H

#include "core/diffusion/noise.h"
#include "core/io/image.h"
#include "pipelines/lora/lora.h"
#include "pipelines/model/model.h"
#include "pipelines/model/tiles.h"
#include "pipelines/sample/preview.h"

struct at_walk;

// One image to make.
struct at_sample_item {
    const char *prompt, *negative; // negative NULL: none, see at_text_embed
    uint64_t seed;
};

struct at_sample_params {
    const struct at_sample_item *items;
    int count;
    int steps;         // 0: at_sample_steps
    double cfg;        // guidance scale; 1: none. y = y(negative) + cfg (y(prompt) - y(negative)); latent consistency
                       // models read it as an input, and no negative prompt
    double cfg_rescale; // 0 .. 1: of guidance, see core/diffusion/guidance.h
    enum at_rng_kind rng; // what the seeds mean
    int clip_skip;     // layers left out of the text encoders for prompts; negative prompts keep them, as in diffusers
    enum at_sampler_kind sampler; // 0: the one of the model's schedule
    bool karras;       // noise levels of Karras et al.: Euler and DPM-Solver++
    double eta;        // of DDIM; 0: deterministic
    int width, height; // in pixels; 0: the model's own size
    // What SDXL is told: the size the picture had (0: that of this one) and where it was cut.
    int original_width, original_height, crop_left, crop_top;
    int batch;         // images at once; 0: chosen. Another batch rounds sums otherwise: 1e-5 of a picture, not bit-equal
    size_t memory_limit; // bytes of the device, weights included, that `batch` is lowered to fit; 0: what the device has
    int vae_tile;        // pixels of the autoencoder's tiles, or AT_TILE_AUTO: only if nothing else fits, or AT_TILE_OFF
    bool resident;       // weights must stay on the device, as others work with them
    const float *init; // the initial noise (count,h,w,C), not scaled; NULL: from the seeds
    // Leads the samples instead of the sampler (walk.h); NULL: the sampler does.
    bool (*lead)(void *leader, struct at_walk *walk);
    void *leader;
    struct at_preview *preview; // shown on the way; NULL: nothing is
    struct at_lora *const *loras;
    int lora_count;
    // Called after every step with the work done so far, 0 .. 1; false stops with AT_ERROR_INTERRUPTED. May be NULL.
    bool (*progress)(void *priv, double done);
    void *priv;
};

// The images as pixels (count,height,width,3) in 0 .. 1 into `out` (NULL: nothing is decoded), and the final scaled latents
// into `latents` (NULL: not wanted). The noise of an item depends on its seed alone.
AT_NODISCARD bool at_sample(struct at_model *m, const struct at_sample_params *params, float *out, float *latents);
// Steps and guidance scale where none are given: those of diffusers' pipelines (steps 25 instead of 50).
int at_sample_steps(const struct at_model *m);
double at_sample_cfg(const struct at_model *m);
// The size of a sample in pixels and in latents, after defaults; false if the model cannot do it.
AT_NODISCARD bool at_sample_size(const struct at_model *m, const struct at_sample_params *params, int *width,
                                 int *height);
// Pixels in 0 .. 1 to an 8-bit image, rounded; freed with at_image_finish.
AT_NODISCARD bool at_sample_image(struct at_log *log, const float *pixels, int width, int height,
                                  struct at_image *out);

#endif
