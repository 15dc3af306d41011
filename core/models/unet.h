// SPDX-License-Identifier: Apache-2.0
// UNet2DConditionModel: the denoiser of SD1.x, SD2.x, SDXL and their relatives, from its diffusers config.json.
#ifndef CORE_MODELS_UNET_H
#define CORE_MODELS_UNET_H

#include "core/io/json.h"
#include "core/models/builder.h"

#define AT_UNET_BLOCKS 8

struct at_unet_config {
    int sample_size; // latent height and width it was trained at; 0: unknown
    int in_channels, out_channels;
    bool flip_sin_to_cos;
    int freq_shift;
    int blocks;
    int channels[AT_UNET_BLOCKS];        // block_out_channels
    bool down_attention[AT_UNET_BLOCKS]; // CrossAttnDownBlock2D, else DownBlock2D
    bool up_attention[AT_UNET_BLOCKS];
    bool has_mid;
    int layers[AT_UNET_BLOCKS];             // layers_per_block
    int transformer_layers[AT_UNET_BLOCKS]; // transformer_layers_per_block
    int heads[AT_UNET_BLOCKS];              // diffusers' attention_head_dim holds the NUMBER of heads
    int context[AT_UNET_BLOCKS];            // cross_attention_dim
    int downsample_padding;
    int groups; // norm_num_groups
    float eps;  // norm_eps
    bool linear_projection;
    int time_dim;         // time_embedding_dim, or 4 * channels[0]
    int guidance_dim;     // time_cond_proj_dim; 0: none
    int addition_time;    // addition_time_embed_dim of addition_embed_type text_time; 0: none
    int addition_input;   // projection_class_embeddings_input_dim
};

// False with file and field in the log if the config is for another class or asks for what is not supported.
AT_NODISCARD bool at_unet_config_parse(struct at_json config, struct at_unet_config *out);

struct at_unet_inputs {
    struct at_node *x;       // (N,H,W,in_channels)
    struct at_node *t;       // (N) timesteps
    struct at_node *context; // (N,L,cross_attention_dim)
    struct at_node *pooled;  // (N,P) pooled text embedding, for addition_time
    struct at_node *time_ids; // (N,6): original height and width, crop top and left, target height and width
    struct at_node *guidance; // (N,guidance_dim), for guidance_dim; NULL: left out
};
// The prediction (N,H,W,out_channels), in the current scope of the builder.
struct at_node *at_unet(struct at_builder *b, const struct at_unet_config *c, const struct at_unet_inputs *in);

#endif
