// SPDX-License-Identifier: Apache-2.0
// Names and order of the layers: diffusers src/diffusers/models/autoencoders/{autoencoder_tiny,vae}.py.
#include "core/models/vae_tiny.h"

#include <stdio.h>
#include <string.h>

// The one width of a half: its stages pass channels on as they are.
static bool parse_width(struct at_json c, const char *key, int *width, size_t *stages)
{
    int list[AT_VAE_TINY_STAGES] = {64, 64, 64, 64};
    *stages = 4;
    if (!at_json_ints(c, key, 1, 1 << 16, list, AT_VAE_TINY_STAGES, stages))
        return false;
    if (*stages < 1)
        return at_json_fail(at_json_get(c, key), "is empty");
    for (size_t i = 1; i < *stages; i++)
        if (list[i] != list[0])
            return at_json_fail(at_json_get(c, key), "%d and %d differ; the layers between the stages cannot change "
                                "the width", list[0], list[i]);
    *width = list[0];
    return true;
}

static bool parse_half(struct at_json c, const char *widths, const char *blocks, int *width, int *list, int *stages)
{
    size_t n = 4, wide;
    if (!parse_width(c, widths, width, &wide) || !at_json_ints(c, blocks, 0, 256, list, AT_VAE_TINY_STAGES, &n))
        return false;
    if (n != wide)
        return at_json_fail(c, "%s has %zu stages, but %s has %zu", widths, wide, blocks, n);
    if (*stages && (int)n != *stages)
        return at_json_fail(c, "num_encoder_blocks has %d stages, but num_decoder_blocks %zu: an image would come back "
                            "in another size", *stages, n);
    *stages = (int)n;
    return true;
}

static bool only(struct at_json c, const char *key, const char *word)
{
    const char *value;
    if (!at_json_str(c, key, word, &value))
        return false;
    return strcmp(value, word) == 0 ||
           at_json_fail(at_json_get(c, key), "\"%s\" is not supported, only \"%s\"", value, word);
}

bool at_vae_tiny_parse(struct at_json c, struct at_vae_tiny *t)
{
    int scale;
    double magnitude, shift;
    *t = (struct at_vae_tiny){.encoder_blocks = {1, 3, 3, 3}, .decoder_blocks = {3, 3, 3, 1}};
    bool ok = only(c, "act_fn", "relu") && only(c, "upsample_fn", "nearest") &&
              at_json_int(c, "upsampling_scaling_factor", 2, 1, 64, &scale) &&
              at_json_num(c, "latent_magnitude", 3, &magnitude) && at_json_num(c, "latent_shift", 0.5, &shift) &&
              parse_half(c, "encoder_block_out_channels", "num_encoder_blocks", &t->encoder_width, t->encoder_blocks,
                         &t->stages) &&
              parse_half(c, "decoder_block_out_channels", "num_decoder_blocks", &t->decoder_width, t->decoder_blocks,
                         &t->stages);
    if (!ok)
        return false;
    if (scale != 2)
        return at_json_fail(at_json_get(c, "upsampling_scaling_factor"), "%d is not supported, only 2: the encoder "
                            "halves a picture", scale);
    if (!(magnitude > 0 && magnitude <= 1e6))
        return at_json_fail(at_json_get(c, "latent_magnitude"), "%g is out of range; it must be above 0, up to 1e6",
                            magnitude);
    if (!(shift >= -1e6 && shift <= 1e6))
        return at_json_fail(at_json_get(c, "latent_shift"), "%g is out of range; it must be -1e6 to 1e6", shift);
    t->latent_magnitude = (float)magnitude;
    t->latent_shift = (float)shift;
    return true;
}

static struct at_node *conv(struct at_builder *b, int layer, struct at_node *x, int64_t out, bool bias, int stride)
{
    char name[16];
    snprintf(name, sizeof(name), "%d", layer);
    return at_build_conv(b, name, x, &(struct at_build_conv_params){.out = out, .kernel = 3, .pad = 1, .stride = stride,
                                                                    .no_bias = !bias});
}

// relu(x + conv relu conv relu conv x)
static struct at_node *block(struct at_builder *b, int layer, struct at_node *x, int width)
{
    at_graph_segment_begin(b->g);
    at_scope_push(b, "%d.conv", layer);
    struct at_node *h = x;
    for (int i = 0; i < 3; i++) {
        h = conv(b, 2 * i, h, width, true, 1);
        h = i < 2 ? at_act(b->g, h, AT_ACT_RELU) : h;
    }
    h = at_act(b->g, at_add(b->g, h, x), AT_ACT_RELU);
    at_scope_pop(b);
    at_graph_segment_end(b->g);
    return h;
}

struct at_node *at_vae_tiny_encode(struct at_builder *b, const struct at_vae_tiny *c, struct at_node *image, int latent)
{
    int layer = 0;
    at_scope_push(b, "encoder.layers");
    struct at_node *x = at_scale(b->g, image, 0.5f, 0.5f);
    for (int stage = 0; stage < c->stages; stage++) {
        x = conv(b, layer++, x, c->encoder_width, stage == 0, stage == 0 ? 1 : 2);
        for (int i = 0; i < c->encoder_blocks[stage]; i++)
            x = block(b, layer++, x, c->encoder_width);
    }
    x = conv(b, layer, x, latent, true, 1);
    at_scope_pop(b);
    return x;
}

struct at_node *at_vae_tiny_decode(struct at_builder *b, const struct at_vae_tiny *c, struct at_node *z, int out)
{
    int layer = 2; // 1 is the activation
    at_scope_push(b, "decoder.layers");
    struct at_node *x = at_act(b->g, at_scale(b->g, z, 1 / 3.0f, 0), AT_ACT_TANH);
    x = conv(b, 0, at_scale(b->g, x, 3, 0), c->decoder_width, true, 1);
    x = at_act(b->g, x, AT_ACT_RELU);
    for (int stage = 0; stage < c->stages && x; stage++) {
        bool last = stage + 1 == c->stages;
        for (int i = 0; i < c->decoder_blocks[stage]; i++)
            x = block(b, layer++, x, c->decoder_width);
        if (!last && x) {
            x = at_upsample(b->g, x, 2 * x->shape.dim[1], 2 * x->shape.dim[2]);
            layer++;
        }
        x = conv(b, layer++, x, last ? out : c->decoder_width, last, 1);
    }
    at_scope_pop(b);
    return at_scale(b->g, x, 2, -1);
}
