// SPDX-License-Identifier: Apache-2.0
#include "core/models/unet.h"

#include <string.h>

#define MOST_LAYERS 8 // of a block; all blocks together make no more skip connections than the denoiser can hold
#define MOST_TRANSFORMERS 64

// Fields that change the network and that attune supports in one setting only.
static bool check_fixed(struct at_json c)
{
    static const char *const absent[] = {"class_embed_type", "num_class_embeds", "encoder_hid_dim",
                                         "encoder_hid_dim_type", "time_embedding_act_fn", "timestep_post_act",
                                         "cross_attention_norm", "num_attention_heads",
                                         "reverse_transformer_layers_per_block"};
    static const char *const off[] = {"center_input_sample", "dual_cross_attention", "resnet_skip_time_act",
                                      "class_embeddings_concat"};
    static const struct {
        const char *key, *value;
    } fixed[] = {{"act_fn", "silu"}, {"resnet_time_scale_shift", "default"}, {"time_embedding_type", "positional"},
                 {"attention_type", "default"}};
    static const char *const kernels[] = {"conv_in_kernel", "conv_out_kernel"};
    static const char *const ones[] = {"mid_block_scale_factor", "resnet_out_scale_factor"};
    for (size_t i = 0; i < sizeof(absent) / sizeof(*absent); i++)
        if (at_json_present(at_json_get(c, absent[i])))
            return at_json_fail(at_json_get(c, absent[i]), "is not supported; only models with null here load");
    for (size_t i = 0; i < sizeof(off) / sizeof(*off); i++) {
        bool on;
        if (!at_json_bool(c, off[i], false, &on))
            return false;
        if (on)
            return at_json_fail(at_json_get(c, off[i]), "true is not supported");
    }
    for (size_t i = 0; i < sizeof(fixed) / sizeof(*fixed); i++) {
        const char *text;
        if (!at_json_str(c, fixed[i].key, fixed[i].value, &text))
            return false;
        if (strcmp(text, fixed[i].value) != 0)
            return at_json_fail(at_json_get(c, fixed[i].key), "\"%s\" is not supported, only \"%s\"", text,
                                fixed[i].value);
    }
    for (size_t i = 0; i < 2; i++) {
        int kernel;
        double one;
        if (!at_json_int(c, kernels[i], 3, 1, 99, &kernel) || !at_json_num(c, ones[i], 1, &one))
            return false;
        if (kernel != 3)
            return at_json_fail(at_json_get(c, kernels[i]), "%d is not supported, only 3", kernel);
        if (one != 1)
            return at_json_fail(at_json_get(c, ones[i]), "%g is not supported, only 1", one);
    }
    return true;
}

// only_cross_attention: false, or a list of false.
static bool check_cross(struct at_json c)
{
    struct at_json v = at_json_get(c, "only_cross_attention");
    size_t n = at_json_is_array(v) ? at_json_count(v) : 0;
    for (size_t i = 0; i < n; i++) {
        bool on;
        if (!at_json_as_bool(at_json_at(v, i), &on))
            return false;
        if (on)
            return at_json_fail(v, "true is not supported");
    }
    bool on = false;
    if (!n && !at_json_bool(c, "only_cross_attention", false, &on))
        return false;
    if (on)
        return at_json_fail(v, "true is not supported");
    if (!at_json_bool(c, "mid_block_only_cross_attention", false, &on))
        return false;
    return !on || at_json_fail(at_json_get(c, "mid_block_only_cross_attention"), "true is not supported");
}

// A field that is one integer from 1 to `most` for all blocks or a list of one a block.
static bool per_block(struct at_json c, const char *key, int fallback, int most, int blocks, int out[AT_UNET_BLOCKS])
{
    struct at_json v = at_json_get(c, key);
    if (!at_json_is_array(v)) {
        int one;
        if (!at_json_int(c, key, fallback, 1, most, &one))
            return false;
        for (int i = 0; i < blocks; i++)
            out[i] = one;
        return true;
    }
    size_t n = 0;
    if (!at_json_ints(c, key, 1, most, out, AT_UNET_BLOCKS, &n))
        return false;
    if ((int)n != blocks)
        return at_json_fail(v, "has %zu values for %d blocks", n, blocks);
    return true;
}

// down_block_types or up_block_types into attention[i].
static bool block_types(struct at_json c, const char *key, const char *plain, const char *cross, int blocks,
                        bool attention[AT_UNET_BLOCKS])
{
    struct at_json v;
    if (!at_json_array(c, key, &v))
        return false;
    if (!at_json_present(v)) {
        for (int i = 0; i < blocks; i++)
            attention[i] = i != (cross[9] == 'D' ? blocks - 1 : 0);
        return true;
    }
    if ((int)at_json_count(v) != blocks)
        return at_json_fail(v, "has %zu types for %d block_out_channels", at_json_count(v), blocks);
    for (int i = 0; i < blocks; i++) {
        const char *type;
        if (!at_json_as_str(at_json_at(v, (size_t)i), &type))
            return false;
        attention[i] = strcmp(type, cross) == 0;
        if (!attention[i] && strcmp(type, plain) != 0)
            return at_json_fail(at_json_at(v, (size_t)i), "\"%s\" is not supported, only %s and %s", type, plain, cross);
    }
    return true;
}

static bool parse_blocks(struct at_json c, struct at_unet_config *u)
{
    size_t n = 4;
    static const int usual[4] = {320, 640, 1280, 1280};
    memcpy(u->channels, usual, sizeof(usual));
    if (!at_json_ints(c, "block_out_channels", 1, 1 << 16, u->channels, AT_UNET_BLOCKS, &n))
        return false;
    if (n < 1)
        return at_json_fail(at_json_get(c, "block_out_channels"), "is empty");
    u->blocks = (int)n;
    const char *mid;
    if (!at_json_str(c, "mid_block_type", "UNetMidBlock2DCrossAttn", &mid))
        return false;
    struct at_json v = at_json_get(c, "mid_block_type");
    u->has_mid = at_json_present(v) || !v.item;
    if (u->has_mid && strcmp(mid, "UNetMidBlock2DCrossAttn") != 0)
        return at_json_fail(v, "\"%s\" is not supported, only UNetMidBlock2DCrossAttn", mid);
    return block_types(c, "down_block_types", "DownBlock2D", "CrossAttnDownBlock2D", u->blocks, u->down_attention) &&
           block_types(c, "up_block_types", "UpBlock2D", "CrossAttnUpBlock2D", u->blocks, u->up_attention) &&
           per_block(c, "layers_per_block", 2, MOST_LAYERS, u->blocks, u->layers) &&
           per_block(c, "transformer_layers_per_block", 1, MOST_TRANSFORMERS, u->blocks, u->transformer_layers) &&
           per_block(c, "attention_head_dim", 8, 1 << 16, u->blocks, u->heads) &&
           per_block(c, "cross_attention_dim", 1280, 1 << 20, u->blocks, u->context);
}

static bool parse_addition(struct at_json c, struct at_unet_config *u)
{
    const char *type;
    if (!at_json_str(c, "addition_embed_type", NULL, &type))
        return false;
    if (!type)
        return true;
    if (strcmp(type, "text_time") != 0)
        return at_json_fail(at_json_get(c, "addition_embed_type"), "\"%s\" is not supported, only \"text_time\"", type);
    struct at_json need;
    return at_json_need(c, "addition_time_embed_dim", &need) &&
           at_json_need(c, "projection_class_embeddings_input_dim", &need) &&
           at_json_int(c, "addition_time_embed_dim", 0, 2, 1 << 16, &u->addition_time) &&
           at_json_int(c, "projection_class_embeddings_input_dim", 0, 1, 1 << 20, &u->addition_input);
}

// Norm groups and heads must divide the widths, or the first layer would fail with less to say.
static bool check_divisors(struct at_json c, const struct at_unet_config *u)
{
    for (int i = 0; i < u->blocks; i++) {
        if (u->channels[i] % u->groups)
            return at_json_fail(at_json_get(c, "block_out_channels"), "%d is not a multiple of norm_num_groups %d",
                                u->channels[i], u->groups);
        bool attention = u->down_attention[i] || u->up_attention[u->blocks - 1 - i] || (u->has_mid && i == u->blocks - 1);
        if (attention && u->channels[i] % u->heads[i])
            return at_json_fail(at_json_get(c, "attention_head_dim"), "%d heads do not divide %d channels", u->heads[i],
                                u->channels[i]);
    }
    if (u->channels[0] % 2)
        return at_json_fail(at_json_get(c, "block_out_channels"), "the first width must be even");
    return true;
}

bool at_unet_config_parse(struct at_json c, struct at_unet_config *u)
{
    *u = (struct at_unet_config){0};
    const char *class;
    if (!at_json_str(c, "_class_name", "UNet2DConditionModel", &class))
        return false;
    if (strcmp(class, "UNet2DConditionModel") != 0)
        return at_json_fail(at_json_get(c, "_class_name"), "\"%s\" is not a UNet2DConditionModel", class);
    double eps;
    bool ok = check_fixed(c) && check_cross(c) && parse_blocks(c, u) && parse_addition(c, u) &&
              at_json_int(c, "sample_size", 0, 0, 1 << 16, &u->sample_size) &&
              at_json_int(c, "in_channels", 4, 1, 1 << 16, &u->in_channels) &&
              at_json_int(c, "out_channels", 4, 1, 1 << 16, &u->out_channels) &&
              at_json_bool(c, "flip_sin_to_cos", true, &u->flip_sin_to_cos) &&
              at_json_int(c, "freq_shift", 0, 0, 1, &u->freq_shift) &&
              at_json_int(c, "downsample_padding", 1, 0, 1, &u->downsample_padding) &&
              at_json_int(c, "norm_num_groups", 32, 1, 1 << 16, &u->groups) &&
              at_json_num(c, "norm_eps", 1e-5, &eps) &&
              at_json_bool(c, "use_linear_projection", false, &u->linear_projection) &&
              at_json_int(c, "time_embedding_dim", 4 * u->channels[0], 1, 1 << 20, &u->time_dim) &&
              at_json_int(c, "time_cond_proj_dim", 0, 0, 1 << 20, &u->guidance_dim);
    if (ok && !(eps > 0 && eps < 1))
        ok = at_json_fail(at_json_get(c, "norm_eps"), "%g is out of range; it must lie between 0 and 1", eps);
    u->eps = ok ? (float)eps : 0;
    return ok && check_divisors(c, u);
}
