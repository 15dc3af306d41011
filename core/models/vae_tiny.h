// SPDX-License-Identifier: Apache-2.0
// AutoencoderTiny (TAESD, taesdxl and their kin), from its diffusers config.json: residual blocks of three convolutions
// with ReLU, no norms and no attention. Part of an at_vae_config (vae.h), through which it is used.
#ifndef CORE_MODELS_VAE_TINY_H
#define CORE_MODELS_VAE_TINY_H

#include "core/io/json.h"
#include "core/models/builder.h"

#define AT_VAE_TINY_STAGES 8

// Resolution halves from stage to stage of the encoder, and doubles from stage to stage of the decoder.
struct at_vae_tiny {
    int stages; // 0: the autoencoder is none of these
    int encoder_width, decoder_width;
    int encoder_blocks[AT_VAE_TINY_STAGES], decoder_blocks[AT_VAE_TINY_STAGES]; // residual blocks of a stage
    // Latents as pictures in 0 .. 1: z / (2 magnitude) + shift. Encoding and decoding do not use them.
    float latent_magnitude, latent_shift;
};

// The fields that AutoencoderKL does not have. What they share is in vae.c.
AT_NODISCARD bool at_vae_tiny_parse(struct at_json config, struct at_vae_tiny *out);
// Image (N,H,W,C) in -1 .. 1 -> latents (N,h,w,latent).
struct at_node *at_vae_tiny_encode(struct at_builder *b, const struct at_vae_tiny *c, struct at_node *image, int latent);
// Latents (N,h,w,C), clamped smoothly to -3 .. 3 -> image (N,H,W,out), about -1 .. 1.
struct at_node *at_vae_tiny_decode(struct at_builder *b, const struct at_vae_tiny *c, struct at_node *z, int out);

#endif
