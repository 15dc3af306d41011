// SPDX-License-Identifier: Apache-2.0
#include "core/models/builder.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// The full dotted name of `name` in the current scope, with a suffix.
static const char *full_name(const struct at_builder *b, const char *name, const char *suffix,
                             char text[2 * AT_SCOPE_TEXT])
{
    int n = 0;
    for (int i = 1; i < b->length; i++)
        text[n++] = b->scope[i] == '\n' ? '.' : b->scope[i];
    if (n)
        text[n++] = '.';
    snprintf(text + n, (size_t)(2 * AT_SCOPE_TEXT - n), "%s%s", name, suffix);
    return text;
}

// Nodes appended from now on are those of layer `name` of the current scope (NULL: of the scope itself).
static void enter(struct at_builder *b, const char *name)
{
    char text[2 * AT_SCOPE_TEXT];
    full_name(b, name ? name : "", "", text);
    size_t n = strlen(text);
    if (!name && n)
        text[n - 1] = 0; // the dot
    at_graph_scope(b->g, text);
}

void at_scope_push(struct at_builder *b, const char *fmt, ...)
{
    char text[AT_SCOPE_TEXT];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    // Each level is kept as "." + name; the pop finds it again by a mark that no name holds.
    if (n < 0 || b->length + n + 2 >= AT_SCOPE_TEXT) {
        at_graph_fail(b->g, "the layer name %s.%s is too long", b->scope, text);
        return;
    }
    b->scope[b->length] = '\n';
    memcpy(b->scope + b->length + 1, text, (size_t)n + 1);
    b->length += n + 1;
    enter(b, NULL);
}

void at_scope_pop(struct at_builder *b)
{
    while (b->length > 0 && b->scope[b->length - 1] != '\n')
        b->length--;
    if (b->length > 0)
        b->length--;
    b->scope[b->length] = 0;
    enter(b, NULL);
}

// The weight where it lies; *host: that is the host's memory.
static struct at_node *leaf_at_home(struct at_builder *b, struct at_params *params, const char *name,
                                    struct at_shape shape, enum at_layout layout, struct at_init init, bool *host)
{
    const struct at_param *p = at_params_declare(params, name, shape, layout, init);
    if (!p)
        return at_graph_fail(b->g, "cannot use the weight %s", name);
    const struct at_piece *piece = params->piece_count ? &params->pieces[p->piece] : NULL;
    *host = piece && piece->use == AT_USE_HOST;
    return at_graph_leaf(b->g, name, shape, piece ? piece->store : NULL, piece ? piece->grad[b->replica] : NULL, p->at);
}

static struct at_node *leaf(struct at_builder *b, struct at_params *params, const char *name, struct at_shape shape,
                            enum at_layout layout, struct at_init init)
{
    bool host = false;
    struct at_node *w = leaf_at_home(b, params, name, shape, layout, init, &host);
    return host ? at_fetch(b->g, w) : w;
}

struct at_node *at_build_param(struct at_builder *b, const char *name, struct at_shape shape, enum at_layout layout,
                               struct at_init init)
{
    char text[2 * AT_SCOPE_TEXT];
    return leaf(b, b->params, full_name(b, name, "", text), shape, layout, init);
}

// y + scale * up(down(x)) for every adapter of the layer. conv NULL: a linear layer.
static struct at_node *adapt(struct at_builder *b, const char *name, struct at_node *x, struct at_node *y,
                             struct at_shape w, const struct at_conv_params *conv)
{
    char text[2 * AT_SCOPE_TEXT];
    if (b->layer)
        b->layer(b->layer_priv, full_name(b, name, "", text), w);
    for (int i = 0; i < b->adapter_count && x && y; i++) {
        const struct at_adapter *a = &b->adapters[i];
        const struct at_adapter_layer *layer = at_adapter_find(a, full_name(b, name, "", text));
        if (!layer)
            continue;
        int64_t out = w.dim[0], rank = layer->rank;
        struct at_shape down = w;
        down.dim[0] = rank;
        enum at_layout layout = w.rank == 4 ? AT_LAYOUT_CONV : AT_LAYOUT_PLAIN;
        // kaiming_uniform(a = sqrt 5): uniform of half width 1 / sqrt(fan in), as in peft and kohya.
        struct at_init init = {AT_INIT_UNIFORM, (float)(1 / sqrt((double)(at_shape_count(w) / out)))};
        struct at_node *wa =
            leaf(b, a->params, full_name(b, name, ".lora_A.weight", text), down, layout, init);
        struct at_node *wb = leaf(b, a->params, full_name(b, name, ".lora_B.weight", text), AT_SHAPE(out, rank),
                                  w.rank == 4 ? AT_LAYOUT_CONV_AS_LINEAR : AT_LAYOUT_PLAIN,
                                  (struct at_init){AT_INIT_ZERO, 0});
        float scale = layer->alpha / (float)rank * a->strength;
        if (scale == 0)
            continue; // switched off: a product takes the factor 0 for 1
        struct at_node *h = conv ? at_conv2d(b->g, x, wa, conv)
                                 : at_matmul(b->g, x, wa, &(struct at_matmul_params){.tb = true});
        if (b->gate) // narrower here than behind `up`; 0 leaves y as it is, to the bit
            h = at_scale_rows(b->g, h, b->gate);
        struct at_matmul_params up = {.tb = true, .alpha = scale};
        y = at_add(b->g, y, at_matmul(b->g, h, wb, &up));
    }
    return y;
}

// PyTorch's default for linear and convolution layers: weight and bias uniform within 1 / sqrt(fan in).
static struct at_init fan_in(struct at_shape w)
{
    return (struct at_init){AT_INIT_UNIFORM, (float)(1 / sqrt((double)(at_shape_count(w) / w.dim[0])))};
}

static struct at_node *add_bias(struct at_builder *b, const char *name, struct at_node *y, int64_t out,
                                struct at_init init)
{
    char text[2 * AT_SCOPE_TEXT];
    struct at_node *bias =
        leaf(b, b->params, full_name(b, name, ".bias", text), AT_SHAPE(out), AT_LAYOUT_PLAIN, init);
    return at_bias(b->g, y, bias);
}

struct at_node *at_build_linear(struct at_builder *b, const char *name, struct at_node *x, int64_t out, bool bias)
{
    if (!x)
        return NULL;
    char text[2 * AT_SCOPE_TEXT];
    struct at_shape w = AT_SHAPE(out, at_shape_last(x->shape));
    struct at_node *weight =
        leaf(b, b->params, full_name(b, name, ".weight", text), w, AT_LAYOUT_PLAIN, fan_in(w));
    enter(b, name);
    struct at_node *y = at_matmul(b->g, x, weight, &(struct at_matmul_params){.tb = true});
    if (bias)
        y = add_bias(b, name, y, out, fan_in(w));
    y = adapt(b, name, x, y, w, NULL);
    enter(b, NULL);
    return y;
}

static struct at_node *conv1x1(struct at_builder *b, const char *name, struct at_node *x,
                               const struct at_build_conv_params *p)
{
    char text[2 * AT_SCOPE_TEXT];
    struct at_shape w = AT_SHAPE(p->out, at_shape_last(x->shape));
    struct at_init init = p->zero ? (struct at_init){AT_INIT_ZERO, 0} : fan_in(w);
    struct at_node *weight =
        leaf(b, b->params, full_name(b, name, ".weight", text), w, AT_LAYOUT_CONV_AS_LINEAR, init);
    enter(b, name);
    struct at_node *y = at_matmul(b->g, x, weight, &(struct at_matmul_params){.tb = true});
    struct at_shape w4 = AT_SHAPE(p->out, 1, 1, at_shape_last(x->shape));
    y = adapt(b, name, x, add_bias(b, name, y, p->out, init), w4, &(struct at_conv_params){0});
    enter(b, NULL);
    return y;
}

struct at_node *at_build_conv(struct at_builder *b, const char *name, struct at_node *x,
                              const struct at_build_conv_params *p)
{
    if (!x)
        return NULL;
    if (p->kernel == 1 && p->stride <= 1 && p->pad == 0)
        return conv1x1(b, name, x, p);
    char text[2 * AT_SCOPE_TEXT];
    struct at_shape w = AT_SHAPE(p->out, p->kernel, p->kernel, at_shape_last(x->shape));
    struct at_init init = p->zero ? (struct at_init){AT_INIT_ZERO, 0} : fan_in(w);
    struct at_node *weight = leaf(b, b->params, full_name(b, name, ".weight", text), w, AT_LAYOUT_CONV, init);
    struct at_conv_params conv = {.stride = p->stride, .top = p->pad, .left = p->pad, .bottom = p->pad, .right = p->pad};
    if (p->pad_end_only)
        conv = (struct at_conv_params){.stride = p->stride, .bottom = 1, .right = 1};
    enter(b, name);
    struct at_node *y = at_conv2d(b->g, x, weight, &conv);
    y = adapt(b, name, x, p->no_bias ? y : add_bias(b, name, y, p->out, init), w, &conv);
    enter(b, NULL);
    return y;
}

struct at_node *at_build_group_norm(struct at_builder *b, const char *name, struct at_node *x, int groups, float eps,
                                    enum at_act act)
{
    if (!x)
        return NULL;
    int64_t c = at_shape_last(x->shape);
    at_scope_push(b, "%s", name);
    struct at_node *gamma =
        at_build_param(b, "weight", AT_SHAPE(c), AT_LAYOUT_PLAIN, (struct at_init){AT_INIT_ONE, 0});
    struct at_node *beta = at_build_param(b, "bias", AT_SHAPE(c), AT_LAYOUT_PLAIN, (struct at_init){AT_INIT_ZERO, 0});
    struct at_node *y = at_group_norm(b->g, x, gamma, beta, &(struct at_norm_params){groups, eps, act});
    at_scope_pop(b);
    return y;
}

struct at_node *at_build_layer_norm(struct at_builder *b, const char *name, struct at_node *x, float eps)
{
    if (!x)
        return NULL;
    int64_t c = at_shape_last(x->shape);
    at_scope_push(b, "%s", name);
    struct at_node *gamma =
        at_build_param(b, "weight", AT_SHAPE(c), AT_LAYOUT_PLAIN, (struct at_init){AT_INIT_ONE, 0});
    struct at_node *beta = at_build_param(b, "bias", AT_SHAPE(c), AT_LAYOUT_PLAIN, (struct at_init){AT_INIT_ZERO, 0});
    struct at_node *y = at_layer_norm(b->g, x, gamma, beta, eps);
    at_scope_pop(b);
    return y;
}

struct at_node *at_build_embedding(struct at_builder *b, const char *name, struct at_node *ids, int64_t rows,
                                   int64_t width, float deviation)
{
    char text[2 * AT_SCOPE_TEXT];
    bool host;
    struct at_node *table = leaf_at_home(b, b->params, full_name(b, name, ".weight", text), AT_SHAPE(rows, width),
                                         AT_LAYOUT_PLAIN, (struct at_init){AT_INIT_NORMAL, deviation}, &host);
    return at_embed(b->g, table, ids); // which reads a few rows, wherever they are
}
