// SPDX-License-Identifier: Apache-2.0
// Names and order of the layers: diffusers src/diffusers/models/unets/unet_2d_condition.py and unet_2d_blocks.py.
#include "core/models/unet.h"

#define MAX_SKIPS 128

struct unet {
    struct at_builder *b;
    const struct at_unet_config *c;
    struct at_node *time; // silu(time embedding), (N,time_dim)
    struct at_node *context;
    struct at_node *skips[MAX_SKIPS];
    int skip_count;
};

// linear_1, silu, linear_2
static struct at_node *embed_mlp(struct at_builder *b, const char *name, struct at_node *x, struct at_node *guidance,
                                 int dim)
{
    at_scope_push(b, "%s", name);
    if (guidance && x)
        x = at_add(b->g, x, at_build_linear(b, "cond_proj", guidance, at_shape_last(x->shape), false));
    struct at_node *h = at_act(b->g, at_build_linear(b, "linear_1", x, dim, true), AT_ACT_SILU);
    h = at_build_linear(b, "linear_2", h, dim, true);
    at_scope_pop(b);
    return h;
}

// The pooled text and the six sizes of SDXL.
static struct at_node *embed_addition(struct at_builder *b, const struct at_unet_config *c,
                                      const struct at_unet_inputs *in)
{
    if (!in->pooled || !in->time_ids)
        return at_graph_fail(b->g, "this model needs pooled text embeddings and time ids");
    int64_t n = in->time_ids->shape.dim[0], ids = at_shape_last(in->time_ids->shape);
    struct at_node *flat = at_view(b->g, in->time_ids, 0, AT_SHAPE(n * ids));
    struct at_sinusoid_params p = {c->addition_time, c->flip_sin_to_cos, (float)c->freq_shift};
    struct at_node *sizes = at_sinusoid(b->g, flat, &p);
    sizes = at_view(b->g, sizes, 0, AT_SHAPE(n, ids * c->addition_time));
    struct at_node *both = at_concat(b->g, in->pooled, sizes);
    if (both && at_shape_last(both->shape) != c->addition_input)
        return at_graph_fail(b->g, "the pooled embedding and sizes are %lld wide, the config says %d",
                             (long long)at_shape_last(both->shape), c->addition_input);
    return embed_mlp(b, "add_embedding", both, NULL, c->time_dim);
}

static struct at_node *embed_time(struct at_builder *b, const struct at_unet_config *c, const struct at_unet_inputs *in)
{
    struct at_sinusoid_params p = {c->channels[0], c->flip_sin_to_cos, (float)c->freq_shift};
    struct at_node *guidance = in->guidance;
    if (guidance && !c->guidance_dim)
        return at_graph_fail(b->g, "this model has no guidance embedding");
    struct at_node *t = embed_mlp(b, "time_embedding", at_sinusoid(b->g, in->t, &p), guidance, c->time_dim);
    if (c->addition_time)
        t = at_add(b->g, t, embed_addition(b, c, in));
    return at_act(b->g, t, AT_ACT_SILU);
}

// ResnetBlock2D
static struct at_node *resnet(struct unet *u, int index, struct at_node *x, int out)
{
    struct at_builder *b = u->b;
    if (!x)
        return NULL;
    at_graph_segment_begin(b->g);
    at_scope_push(b, "resnets.%d", index);
    struct at_build_conv_params conv = {.out = out, .kernel = 3, .pad = 1};
    struct at_node *h = at_build_group_norm(b, "norm1", x, u->c->groups, u->c->eps, AT_ACT_SILU);
    h = at_build_conv(b, "conv1", h, &conv);
    h = at_bias(b->g, h, at_build_linear(b, "time_emb_proj", u->time, out, true));
    h = at_build_group_norm(b, "norm2", h, u->c->groups, u->c->eps, AT_ACT_SILU);
    h = at_build_conv(b, "conv2", h, &conv);
    if (at_shape_last(x->shape) != out)
        x = at_build_conv(b, "conv_shortcut", x, &(struct at_build_conv_params){.out = out, .kernel = 1});
    h = at_add(b->g, x, h);
    at_scope_pop(b);
    at_graph_segment_end(b->g);
    return h;
}

static struct at_node *attend(struct at_builder *b, const char *name, struct at_node *x, struct at_node *context,
                              int heads)
{
    if (!x)
        return NULL;
    int64_t width = at_shape_last(x->shape);
    at_scope_push(b, "%s", name);
    struct at_node *q = at_build_linear(b, "to_q", x, width, false);
    struct at_node *k = at_build_linear(b, "to_k", context, width, false);
    struct at_node *v = at_build_linear(b, "to_v", context, width, false);
    struct at_node *y = at_attention(b->g, q, k, v, &(struct at_attention_params){.heads = heads});
    y = at_build_linear(b, "to_out.0", y, width, true);
    at_scope_pop(b);
    return y;
}

// BasicTransformerBlock on (N,HW,C)
static struct at_node *transformer_block(struct unet *u, int index, struct at_node *x, int heads)
{
    struct at_builder *b = u->b;
    if (!x)
        return NULL;
    int64_t width = at_shape_last(x->shape);
    at_graph_segment_begin(b->g);
    at_scope_push(b, "transformer_blocks.%d", index);
    struct at_node *h = at_build_layer_norm(b, "norm1", x, 1e-5f);
    x = at_add(b->g, x, attend(b, "attn1", h, h, heads));
    h = at_build_layer_norm(b, "norm2", x, 1e-5f);
    x = at_add(b->g, x, attend(b, "attn2", h, u->context, heads));
    h = at_build_layer_norm(b, "norm3", x, 1e-5f);
    h = at_geglu(b->g, at_build_linear(b, "ff.net.0.proj", h, 8 * width, true));
    x = at_add(b->g, x, at_build_linear(b, "ff.net.2", h, width, true));
    at_scope_pop(b);
    at_graph_segment_end(b->g);
    return x;
}

static struct at_node *project(struct unet *u, const char *name, struct at_node *x, int64_t width)
{
    if (u->c->linear_projection)
        return at_build_linear(u->b, name, x, width, true);
    return at_build_conv(u->b, name, x, &(struct at_build_conv_params){.out = width, .kernel = 1});
}

// Transformer2DModel; `level` chooses heads and depth.
static struct at_node *transformer(struct unet *u, int index, struct at_node *x, int level)
{
    struct at_builder *b = u->b;
    if (!x || !u->context)
        return NULL;
    if (at_shape_last(u->context->shape) != u->c->context[level])
        return at_graph_fail(b->g, "the text embedding is %lld wide, this model expects %d",
                             (long long)at_shape_last(u->context->shape), u->c->context[level]);
    struct at_shape s = x->shape;
    int64_t width = at_shape_last(s);
    at_scope_push(b, "attentions.%d", index);
    struct at_node *h = at_build_group_norm(b, "norm", x, u->c->groups, 1e-6f, AT_ACT_NONE);
    h = project(u, "proj_in", h, width);
    h = at_view(b->g, h, 0, AT_SHAPE(s.dim[0], s.dim[1] * s.dim[2], width));
    for (int i = 0; i < u->c->transformer_layers[level]; i++)
        h = transformer_block(u, i, h, u->c->heads[level]);
    h = project(u, "proj_out", at_view(b->g, h, 0, s), width);
    at_scope_pop(b);
    return at_add(b->g, x, h);
}

static void push_skip(struct unet *u, struct at_node *x)
{
    if (u->skip_count == MAX_SKIPS)
        at_graph_fail(u->b->g, "the model has more than %d skip connections", MAX_SKIPS);
    else
        u->skips[u->skip_count++] = x;
}

static struct at_node *down(struct unet *u, struct at_node *x)
{
    const struct at_unet_config *c = u->c;
    push_skip(u, x);
    for (int level = 0; level < c->blocks; level++) {
        at_scope_push(u->b, "down_blocks.%d", level);
        for (int i = 0; i < c->layers[level]; i++) {
            x = resnet(u, i, x, c->channels[level]);
            if (c->down_attention[level])
                x = transformer(u, i, x, level);
            push_skip(u, x);
        }
        if (level + 1 < c->blocks) {
            struct at_build_conv_params p = {.out = c->channels[level], .kernel = 3, .stride = 2,
                                             .pad = c->downsample_padding, .pad_end_only = !c->downsample_padding};
            x = at_build_conv(u->b, "downsamplers.0.conv", x, &p);
            push_skip(u, x);
        }
        at_scope_pop(u->b);
    }
    return x;
}

static struct at_node *mid(struct unet *u, struct at_node *x)
{
    int level = u->c->blocks - 1;
    at_scope_push(u->b, "mid_block");
    x = resnet(u, 0, x, u->c->channels[level]);
    x = transformer(u, 0, x, level);
    x = resnet(u, 1, x, u->c->channels[level]);
    at_scope_pop(u->b);
    return x;
}

static struct at_node *up(struct unet *u, struct at_node *x)
{
    const struct at_unet_config *c = u->c;
    for (int i = 0; i < c->blocks; i++) {
        int level = c->blocks - 1 - i;
        at_scope_push(u->b, "up_blocks.%d", i);
        for (int j = 0; j <= c->layers[level]; j++) {
            x = at_concat(u->b->g, x, u->skips[--u->skip_count]);
            x = resnet(u, j, x, c->channels[level]);
            if (c->up_attention[i])
                x = transformer(u, j, x, level);
        }
        if (level > 0 && x) {
            // To the size of the next skip: twice, or one less where an odd size was halved.
            const struct at_node *next = u->skips[u->skip_count - 1];
            x = next ? at_upsample(u->b->g, x, next->shape.dim[1], next->shape.dim[2]) : NULL;
            struct at_build_conv_params p = {.out = c->channels[level], .kernel = 3, .pad = 1};
            x = at_build_conv(u->b, "upsamplers.0.conv", x, &p);
        }
        at_scope_pop(u->b);
    }
    return x;
}

struct at_node *at_unet(struct at_builder *b, const struct at_unet_config *c, const struct at_unet_inputs *in)
{
    struct unet u = {.b = b, .c = c, .context = in->context};
    u.time = embed_time(b, c, in);
    struct at_node *x = at_build_conv(
        b, "conv_in", in->x, &(struct at_build_conv_params){.out = c->channels[0], .kernel = 3, .pad = 1});
    x = down(&u, x);
    if (c->has_mid)
        x = mid(&u, x);
    if (!at_graph_ok(b->g))
        return NULL;
    x = up(&u, x);
    x = at_build_group_norm(b, "conv_norm_out", x, c->groups, c->eps, AT_ACT_SILU);
    return at_build_conv(b, "conv_out", x,
                         &(struct at_build_conv_params){.out = c->out_channels, .kernel = 3, .pad = 1});
}
