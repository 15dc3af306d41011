// SPDX-License-Identifier: Apache-2.0
// Autoencoders, from their diffusers config.json: AutoencoderKL, and AutoencoderTiny behind the same functions.
#ifndef CORE_MODELS_VAE_H
#define CORE_MODELS_VAE_H

#include "core/models/vae_tiny.h"

#define AT_VAE_BLOCKS 8

struct at_vae_config {
    int in_channels, out_channels, latent_channels;
    int blocks, channels[AT_VAE_BLOCKS];
    int layers; // layers_per_block of the encoder; the decoder has one more
    int groups;
    int sample_size;
    float scaling_factor, shift_factor; // latents of the denoiser: (z - shift) * scaling
    bool quant_conv, post_quant_conv, mid_attention;
    struct at_vae_tiny tiny; // with `stages`: an AutoencoderTiny, to which channels, layers, groups and flags do not apply
};

AT_NODISCARD bool at_vae_config_parse(struct at_json config, struct at_vae_config *out);
// Image sizes must be multiples of this: 2^(blocks - 1).
int at_vae_factor(const struct at_vae_config *c);

// Image (N,H,W,in_channels) in -1 .. 1 -> moments (N,h,w,2 latent_channels), see at_gaussian_sample. An AutoencoderTiny has
// no distribution: its deviation is e^-15, which is none in float.
struct at_node *at_vae_encode(struct at_builder *b, const struct at_vae_config *c, struct at_node *image);
// In f32: SDXL's overflows with activations of halves (force_upcast in its config).
// Latents z, unscaled (N,h,w,latent_channels) -> image (N,H,W,out_channels), about -1 .. 1.
struct at_node *at_vae_decode(struct at_builder *b, const struct at_vae_config *c, struct at_node *z);

#endif
