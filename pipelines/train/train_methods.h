// SPDX-License-Identifier: Apache-2.0
// The methods of `attune train`: each opens its data and model, runs at_train, and leaves its result in the run folder.
// Their parameters begin with those of the loop.
#ifndef PIPELINES_TRAIN_TRAIN_METHODS_H
#define PIPELINES_TRAIN_TRAIN_METHODS_H

#include "pipelines/lora/lora.h"
#include "pipelines/objectives/objective.h"
#include "pipelines/train/pictures.h"
#include "pipelines/train/train.h"

// An autoencoder from random weights. Loss per image: mean |e| + mean e^2 + gradient * mean |difference of e along x
// and y| + kl * KL, e = decoded - image in -1 .. 1 (testbed.md 2).
struct at_train_vae_params {
    struct at_train_params train;
    const char *config; // a model folder with configs; NULL: the embedded model's
    struct at_picture_source data;
    double gradient, kl; // 0: 0.5 and 1e-5
};
AT_NODISCARD bool at_train_vae(struct at_device *dev, const struct at_train_vae_params *params, struct at_log *log);

// A denoiser and its text encoders, on latents of a trained autoencoder: all weights, or an adapter. Plain denoising
// loss in the schedule's prediction type, uniform timesteps.
struct at_train_base_params {
    struct at_train_params train;
    const char *model; // folder with configs, tokenizer and a trained autoencoder
    const struct at_source_options *reading; // of its files; NULL: as they are
    bool pretrained;   // begin with the model's weights instead of random ones; with an adapter that is always so
    bool adapter;      // of the denoiser alone, or, with lora.text, of the text encoders too
    struct at_lora_params lora;
    struct at_picture_source data; // size 0: the model's own
    int views;         // latents cached a picture; 0: 48
    double caption_dropout; // share of captions replaced by ""
};
AT_NODISCARD bool at_train_base(struct at_device *dev, const struct at_train_base_params *params, struct at_log *log);

// Diffusion-DPO (methods.md 1.1) of an adapter of the denoiser, with lora.text of the text encoders too, or of all weights
// of the denoiser.
struct at_train_dpo_params {
    struct at_train_params train;
    const char *model; // NULL: the embedded one
    const struct at_source_options *reading; // of its files; NULL: as they are
    const char *pairs; // JSONL (datasets/pairs.h)
    bool coin;         // labels drawn by coin: the control
    bool full;         // all weights; else LoRA
    struct at_lora_params lora;
    struct at_objective_params objective;
    int size;  // pixels of the shorter side; 0: the model's
    int clip_skip; // of all captions, the empty one included
    double caption_dropout;
    bool flip;         // the same random horizontal flip for both pictures of a pair
    bool sample_posterior; // else the posterior's mean
    double held_out;   // share of the pairs' prompts kept apart to measure implicit accuracy
    const char *cache; // folder of cached latents; NULL: none
};
AT_NODISCARD bool at_train_dpo(struct at_device *dev, const struct at_train_dpo_params *params, struct at_log *log);

#endif
