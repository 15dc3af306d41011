// SPDX-License-Identifier: Apache-2.0
// Names and order of the layers: diffusers src/diffusers/models/autoencoders/{autoencoder_kl,vae}.py.
#include "core/models/vae.h"

#include <math.h>
#include <string.h>

#define EPS 1e-6f

static bool check_types(struct at_json c, const char *key, const char *only, int blocks)
{
    struct at_json v;
    if (!at_json_array(c, key, &v))
        return false;
    if (!at_json_present(v))
        return blocks == 1 || at_json_fail(c, "%s is missing for %d block_out_channels", key, blocks);
    if ((int)at_json_count(v) != blocks)
        return at_json_fail(v, "has %zu types for %d block_out_channels", at_json_count(v), blocks);
    for (int i = 0; i < blocks; i++) {
        const char *type;
        if (!at_json_as_str(at_json_at(v, (size_t)i), &type))
            return false;
        if (strcmp(type, only) != 0)
            return at_json_fail(at_json_at(v, (size_t)i), "\"%s\" is not supported, only %s", type, only);
    }
    return true;
}

// Fields of both classes.
static bool parse_shared(struct at_json c, bool tiny, struct at_vae_config *v)
{
    double scaling, shift;
    bool ok = at_json_int(c, "in_channels", 3, 1, 1024, &v->in_channels) &&
              at_json_int(c, "out_channels", 3, 1, 1024, &v->out_channels) &&
              at_json_int(c, "latent_channels", 4, 1, 1024, &v->latent_channels) &&
              at_json_int(c, "sample_size", tiny ? 512 : 32, 1, 1 << 16, &v->sample_size) &&
              at_json_num(c, "scaling_factor", tiny ? 1 : 0.18215, &scaling) && at_json_num(c, "shift_factor", 0, &shift) &&
              at_json_bool(c, "force_upcast", false, &v->exact);
    if (!ok)
        return false;
    if (!(scaling >= 1e-6 && scaling <= 1e6))
        return at_json_fail(at_json_get(c, "scaling_factor"), "%g is out of range; it must be 1e-6 to 1e6", scaling);
    if (!(fabs(shift) <= 1e6))
        return at_json_fail(at_json_get(c, "shift_factor"), "%g is out of range; it must be -1e6 to 1e6", shift);
    v->scaling_factor = (float)scaling;
    v->shift_factor = (float)shift;
    return true;
}

static bool parse_kl(struct at_json c, struct at_vae_config *v)
{
    static const char *const statistics[] = {"latents_mean", "latents_std"};
    const char *act;
    size_t blocks = 1;
    v->channels[0] = 64;
    if (!at_json_str(c, "act_fn", "silu", &act))
        return false;
    if (strcmp(act, "silu") != 0)
        return at_json_fail(at_json_get(c, "act_fn"), "\"%s\" is not supported, only \"silu\"", act);
    bool ok = at_json_ints(c, "block_out_channels", 1, 1 << 16, v->channels, AT_VAE_BLOCKS, &blocks) &&
              at_json_int(c, "layers_per_block", 1, 1, 64, &v->layers) &&
              at_json_int(c, "norm_num_groups", 32, 1, 1 << 16, &v->groups) &&
              at_json_bool(c, "use_quant_conv", true, &v->quant_conv) &&
              at_json_bool(c, "use_post_quant_conv", true, &v->post_quant_conv) &&
              at_json_bool(c, "mid_block_add_attention", true, &v->mid_attention);
    if (!ok)
        return false;
    v->blocks = (int)blocks;
    if (v->blocks < 1)
        return at_json_fail(at_json_get(c, "block_out_channels"), "is empty");
    for (int i = 0; i < 2; i++)
        if (at_json_present(at_json_get(c, statistics[i])))
            return at_json_fail(at_json_get(c, statistics[i]), "is not supported; only models with null here load");
    for (int i = 0; i < v->blocks; i++)
        if (v->channels[i] % v->groups)
            return at_json_fail(at_json_get(c, "block_out_channels"), "%d is not a multiple of norm_num_groups %d",
                                v->channels[i], v->groups);
    return check_types(c, "down_block_types", "DownEncoderBlock2D", v->blocks) &&
           check_types(c, "up_block_types", "UpDecoderBlock2D", v->blocks);
}

bool at_vae_config_parse(struct at_json c, struct at_vae_config *v)
{
    const char *class;
    *v = (struct at_vae_config){0};
    if (!at_json_str(c, "_class_name", "AutoencoderKL", &class))
        return false;
    bool tiny = strcmp(class, "AutoencoderTiny") == 0;
    if (!tiny && strcmp(class, "AutoencoderKL") != 0)
        return at_json_fail(at_json_get(c, "_class_name"), "\"%s\" is not supported, only AutoencoderKL and "
                            "AutoencoderTiny", class);
    if (!parse_shared(c, tiny, v) || !(tiny ? at_vae_tiny_parse(c, &v->tiny) : parse_kl(c, v)))
        return false;
    v->blocks = tiny ? v->tiny.stages : v->blocks;
    return true;
}

int at_vae_factor(const struct at_vae_config *c)
{
    return 1 << (c->blocks - 1);
}

static struct at_node *resnet(struct at_builder *b, const struct at_vae_config *c, int index, struct at_node *x, int out)
{
    if (!x)
        return NULL;
    struct at_build_conv_params conv = {.out = out, .kernel = 3, .pad = 1};
    at_graph_segment_begin(b->g);
    at_scope_push(b, "resnets.%d", index);
    struct at_node *h = at_build_group_norm(b, "norm1", x, c->groups, EPS, AT_ACT_SILU);
    h = at_build_conv(b, "conv1", h, &conv);
    h = at_build_group_norm(b, "norm2", h, c->groups, EPS, AT_ACT_SILU);
    h = at_build_conv(b, "conv2", h, &conv);
    if (at_shape_last(x->shape) != out)
        x = at_build_conv(b, "conv_shortcut", x, &(struct at_build_conv_params){.out = out, .kernel = 1});
    h = at_add(b->g, x, h);
    at_scope_pop(b);
    at_graph_segment_end(b->g);
    return h;
}

// One head over all pixels.
static struct at_node *attention(struct at_builder *b, const struct at_vae_config *c, struct at_node *x)
{
    if (!x)
        return NULL;
    struct at_shape s = x->shape;
    int64_t width = at_shape_last(s);
    at_scope_push(b, "attentions.0");
    struct at_node *h = at_build_group_norm(b, "group_norm", x, c->groups, EPS, AT_ACT_NONE);
    h = at_view(b->g, h, 0, AT_SHAPE(s.dim[0], s.dim[1] * s.dim[2], width));
    struct at_node *q = at_build_linear(b, "to_q", h, width, true);
    struct at_node *k = at_build_linear(b, "to_k", h, width, true);
    struct at_node *v = at_build_linear(b, "to_v", h, width, true);
    h = at_attention(b->g, q, k, v, &(struct at_attention_params){.heads = 1});
    h = at_view(b->g, at_build_linear(b, "to_out.0", h, width, true), 0, s);
    at_scope_pop(b);
    return at_add(b->g, x, h);
}

static struct at_node *mid(struct at_builder *b, const struct at_vae_config *c, struct at_node *x)
{
    int width = c->channels[c->blocks - 1];
    at_scope_push(b, "mid_block");
    x = resnet(b, c, 0, x, width);
    if (c->mid_attention)
        x = attention(b, c, x);
    x = resnet(b, c, 1, x, width);
    at_scope_pop(b);
    return x;
}

static struct at_node *encode(struct at_builder *b, const struct at_vae_config *c, struct at_node *image)
{
    if (!image)
        return NULL;
    int factor = at_vae_factor(c);
    if (image->shape.dim[1] % factor || image->shape.dim[2] % factor)
        return at_graph_fail(b->g, "the image is %lldx%lld, but this autoencoder needs multiples of %d",
                             (long long)image->shape.dim[2], (long long)image->shape.dim[1], factor);
    if (c->tiny.stages) {
        struct at_node *z = at_vae_tiny_encode(b, &c->tiny, image, c->latent_channels);
        return at_concat(b->g, z, at_scale(b->g, z, 0, -30));
    }
    at_scope_push(b, "encoder");
    struct at_node *x = at_build_conv(
        b, "conv_in", image, &(struct at_build_conv_params){.out = c->channels[0], .kernel = 3, .pad = 1});
    for (int level = 0; level < c->blocks; level++) {
        at_scope_push(b, "down_blocks.%d", level);
        for (int i = 0; i < c->layers; i++)
            x = resnet(b, c, i, x, c->channels[level]);
        struct at_build_conv_params p = {.out = c->channels[level], .kernel = 3, .stride = 2, .pad_end_only = true};
        if (level + 1 < c->blocks)
            x = at_build_conv(b, "downsamplers.0.conv", x, &p);
        at_scope_pop(b);
    }
    x = mid(b, c, x);
    x = at_build_group_norm(b, "conv_norm_out", x, c->groups, EPS, AT_ACT_SILU);
    x = at_build_conv(b, "conv_out", x,
                      &(struct at_build_conv_params){.out = 2 * c->latent_channels, .kernel = 3, .pad = 1});
    at_scope_pop(b);
    if (c->quant_conv)
        x = at_build_conv(b, "quant_conv", x,
                          &(struct at_build_conv_params){.out = 2 * c->latent_channels, .kernel = 1});
    return x;
}

static struct at_node *decode(struct at_builder *b, const struct at_vae_config *c, struct at_node *z)
{
    struct at_node *x = z;
    if (c->tiny.stages)
        return at_vae_tiny_decode(b, &c->tiny, z, c->out_channels);
    if (c->post_quant_conv)
        x = at_build_conv(b, "post_quant_conv", x,
                          &(struct at_build_conv_params){.out = c->latent_channels, .kernel = 1});
    at_scope_push(b, "decoder");
    x = at_build_conv(b, "conv_in", x,
                      &(struct at_build_conv_params){.out = c->channels[c->blocks - 1], .kernel = 3, .pad = 1});
    x = mid(b, c, x);
    for (int i = 0; i < c->blocks && x; i++) {
        int level = c->blocks - 1 - i;
        at_scope_push(b, "up_blocks.%d", i);
        for (int j = 0; j <= c->layers; j++)
            x = resnet(b, c, j, x, c->channels[level]);
        if (level > 0 && x) {
            x = at_upsample(b->g, x, 2 * x->shape.dim[1], 2 * x->shape.dim[2]);
            x = at_build_conv(b, "upsamplers.0.conv", x,
                              &(struct at_build_conv_params){.out = c->channels[level], .kernel = 3, .pad = 1});
        }
        at_scope_pop(b);
    }
    x = at_build_group_norm(b, "conv_norm_out", x, c->groups, EPS, AT_ACT_SILU);
    x = at_build_conv(b, "conv_out", x, &(struct at_build_conv_params){.out = c->out_channels, .kernel = 3, .pad = 1});
    at_scope_pop(b);
    return x;
}

struct at_node *at_vae_encode(struct at_builder *b, const struct at_vae_config *c, struct at_node *image)
{
    bool exact = at_graph_exact(b->g, c->exact);
    struct at_node *moments = encode(b, c, image);
    at_graph_exact(b->g, exact);
    return moments;
}

struct at_node *at_vae_decode(struct at_builder *b, const struct at_vae_config *c, struct at_node *z)
{
    bool exact = at_graph_exact(b->g, c->exact);
    struct at_node *image = decode(b, c, z);
    at_graph_exact(b->g, exact);
    return image;
}
