// SPDX-License-Identifier: Apache-2.0
// A model: tokenizers, text encoders (one, or the two of SDXL), denoiser, autoencoder, noise schedule.
//
//     struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = "model"}, log);
//     at_text_embed(m, prompts, 2, NULL, rows);         // text.h
//     ... a denoiser (denoiser.h), a sampler (sample.h) ...
//     at_model_decode(m, latents, 2, 8, 8, pixels);     // latents to images
#ifndef PIPELINES_MODEL_MODEL_H
#define PIPELINES_MODEL_MODEL_H

#include "core/models/clip.h"
#include "core/models/unet.h"
#include "core/models/vae.h"
#include "pipelines/source/model_source.h"

#define AT_MODEL_ADAPTERS 16 // at once

enum at_part {
    AT_PART_TEXT = 1, // tokenizers and text encoders
    AT_PART_UNET = 2,
    AT_PART_VAE = 4,
};

struct at_model_params {
    const char *path;   // NULL: the embedded model
    const struct at_source_options *reading; // of its files; NULL: as they are
    unsigned parts;     // bits of enum at_part; 0: all
    unsigned weightless; // parts of which all is read but the weights: they tell sizes, and serve for nothing else
    unsigned trainable; // parts that collect gradients
    int replicas;       // of the gradients; 0: one
    bool check;         // look at everything but read no weights: no device is needed, and the model serves for nothing
                        // but to be destroyed, or to check adapters on
    bool wordless;      // no tokenizer is read: with `check`, for those who only handle weights
    bool untrained;     // initial weights from `seed` instead of reading files (the configs are still read)
    unsigned fresh;     // parts for which `untrained` holds; 0: all
    bool lazy;          // weights of parts that are not trained come to the device at first use (at_model_wake)
    bool exact;         // frozen weights are not rounded to what the device keeps (--weights): a reference must be what
                        // the policy begins as
    uint64_t seed;
};

#define AT_TEXTS 2

struct at_text_encoder {
    struct at_clip_config config;
    struct at_clip_tokenizer *tokenizer;
    struct at_params *params; // NULL if not asked for
    struct at_adapter adapters[AT_MODEL_ADAPTERS]; // what at_text_adapt set
    int adapter_count;
};

struct at_model {
    struct at_log *log;
    struct at_device *dev;
    struct at_model_source *source;
    const char *path; // of the source
    struct at_text_encoder text[AT_TEXTS];
    int texts;       // of them
    bool zero_empty; // no negative prompt is all zeros, not ""
    struct at_unet_config unet;
    struct at_vae_config vae;
    struct at_schedule *schedule;
    int vae_tile; // pixels of a tile's side in which the autoencoder works (tiles.h); 0: whole pictures, some at once
    struct at_params *unet_params, *vae_params; // NULL for parts not asked for
    struct at_model_stages *stages;             // compiled graphs, by use
    struct at_model_params opened;
    unsigned resting; // parts whose weights at_model_rest took from the device
};

struct at_model *at_model_open(struct at_device *dev, const struct at_model_params *params, struct at_log *log);
void at_model_destroy(struct at_model **model);
// Frees weights and compiled graphs of parts that are not needed any more; their configs stay.
void at_model_drop(struct at_model *m, unsigned parts);
// Takes weights and compiled graphs of parts that are not trained from the device. They come back, from their files, when
// the part is next used by at_text_encode, at_denoiser_create, at_model_encode or at_model_decode; other graphs must not
// hold them.
void at_model_rest(struct at_model *m, unsigned parts);
// Brings them back now. False: logged, and they rest.
AT_NODISCARD bool at_model_wake(struct at_model *m, unsigned parts);
// A copy on a dry device without a limit, to try what a job takes beside what is allocated; the model's weights are
// taken for there, and what rests is counted when it comes. `log` must outlive it; ended also after a failure.
AT_NODISCARD bool at_model_try(const struct at_model *m, struct at_log *log, struct at_model *copy);
void at_model_try_end(const struct at_model *m, struct at_model *copy);

// Images (n,H,W,3) in -1 .. 1 to moments (n,h,w,2C) and back from scaled latents (n,h,w,C), in tiles of `vae_tile`.
AT_NODISCARD bool at_model_encode(struct at_model *m, const float *images, int n, int height, int width, float *moments);
AT_NODISCARD bool at_model_decode(struct at_model *m, const float *latents, int n, int h, int w, float *images);
// FLOPs of decoding an image, of the size that was decoded last; 0 before.
double at_model_decode_flops(const struct at_model *m);
// A scaled latent from moments (h,w,2C) of `pixels` = h * w: mean + deviation * noise (NULL, or an autoencoder without a
// distribution: the mean).
void at_model_latent(const struct at_model *m, const float *moments, const float *noise, int64_t pixels, float *latent);

#endif
