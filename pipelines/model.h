// SPDX-License-Identifier: Apache-2.0
// A model: tokenizer, text encoder, denoiser, autoencoder, noise schedule.
//
//     struct at_model *m = at_model_open(dev, &(struct at_model_params){.path = "model"}, log);
//     at_model_embed(m, prompts, 2, hidden);            // text to (2,L,D)
//     ... a denoiser (denoiser.h), a sampler (sample.h) ...
//     at_model_decode(m, latents, 2, 8, 8, pixels);     // latents to images
#ifndef PIPELINES_MODEL_H
#define PIPELINES_MODEL_H

#include "core/models/clip.h"
#include "core/models/unet.h"
#include "core/models/vae.h"
#include "pipelines/model_source.h"

#define AT_MODEL_ADAPTERS 16 // at once

enum at_part {
    AT_PART_TEXT = 1, // tokenizer and text encoder
    AT_PART_UNET = 2,
    AT_PART_VAE = 4,
};

struct at_model_params {
    const char *path;   // NULL: the embedded model
    const struct at_source_options *reading; // of its files; NULL: as they are
    unsigned parts;     // bits of enum at_part; 0: all
    unsigned trainable; // parts that collect gradients
    int replicas;       // of the gradients; 0: one
    bool check;         // look at everything but read no weights: no device is needed, and the model serves for nothing
                        // but to be destroyed, or to check adapters on
    bool untrained;     // initial weights from `seed` instead of reading files (the configs are still read)
    unsigned fresh;     // parts for which `untrained` holds; 0: all
    uint64_t seed;
};

struct at_model {
    struct at_log *log;
    struct at_device *dev;
    struct at_model_source *source;
    const char *path; // of the source
    struct at_clip_tokenizer *tokenizer;
    struct at_clip_config clip;
    struct at_unet_config unet;
    struct at_vae_config vae;
    struct at_schedule *schedule;
    int vae_tile; // pixels of a tile's side in which the autoencoder works (tiles.h); 0: whole pictures, some at once
    struct at_params *text_params, *unet_params, *vae_params; // NULL for parts not asked for
    struct at_adapter text_adapters[AT_MODEL_ADAPTERS];       // what at_model_adapt_text set
    int text_adapter_count;
    struct at_model_stages *stages;                           // compiled graphs, by use
};

struct at_model *at_model_open(struct at_device *dev, const struct at_model_params *params, struct at_log *log);
void at_model_destroy(struct at_model **model);
// Frees weights and compiled graphs of parts that are not needed any more; their configs stay.
void at_model_drop(struct at_model *m, unsigned parts);

// Tokens a prompt is padded to: L.
int at_model_tokens(const struct at_model *m);
// The ids of one prompt, L of them. A prompt that is cut is warned about with the part that was lost.
AT_NODISCARD bool at_model_tokenize(const struct at_model *m, const char *prompt, int32_t *ids);
// The text encoder works with these adapters from now on; they are copied, what they point to must stay. count 0: none.
void at_model_adapt_text(struct at_model *m, const struct at_adapter *adapters, int count);
// Hidden states of n prompts, or of their ids (n,L), into (n,L,width).
AT_NODISCARD bool at_model_hidden(struct at_model *m, const int32_t *ids, int n, float *hidden);
AT_NODISCARD bool at_model_embed(struct at_model *m, const char *const *prompts, int n, float *hidden);

// Images (n,H,W,3) in -1 .. 1 to moments (n,h,w,2C) and back from scaled latents (n,h,w,C), in tiles of `vae_tile`.
AT_NODISCARD bool at_model_encode(struct at_model *m, const float *images, int n, int height, int width, float *moments);
AT_NODISCARD bool at_model_decode(struct at_model *m, const float *latents, int n, int h, int w, float *images);
// FLOPs of decoding an image, of the size that was decoded last; 0 before.
double at_model_decode_flops(const struct at_model *m);
// A scaled latent from moments (h,w,2C) of `pixels` = h * w: mean + deviation * noise (NULL, or an autoencoder without a
// distribution: the mean).
void at_model_latent(const struct at_model *m, const float *moments, const float *noise, int64_t pixels, float *latent);

#endif
