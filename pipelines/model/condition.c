// SPDX-License-Identifier: Apache-2.0
#include "pipelines/model/condition.h"

#include <math.h>
#include <string.h>

struct at_sizes at_sizes_whole(int height, int width)
{
    return (struct at_sizes){height, width, 0, 0, height, width};
}

void at_sizes_fill(const struct at_sizes *s, float row[AT_SIZES])
{
    const int values[AT_SIZES] = {s->original_height, s->original_width, s->top, s->left, s->height, s->width};
    for (int i = 0; i < AT_SIZES; i++)
        row[i] = (float)values[i];
}

// Floats of a row that are not of its hidden states.
static int64_t pooled_floats(const struct at_unet_config *u)
{
    return u->addition_time ? (int64_t)u->addition_input - AT_SIZES * u->addition_time : 0;
}

static int64_t extra_floats(const struct at_unet_config *u)
{
    return (u->addition_time ? AT_SIZES : 0) + u->guidance_dim;
}

size_t at_condition_floats(const struct at_unet_config *u, int tokens)
{
    return (size_t)((int64_t)tokens * u->context[0] + pooled_floats(u) + extra_floats(u));
}

void at_guidance_embed(double guidance, int dim, float *out)
{
    int half = dim / 2;
    float w = (float)(guidance - 1) * 1000.0f, step = logf(10000.0f) / (float)(half - 1);
    for (int i = 0; i < half; i++) {
        float frequency = (float)exp((double)((float)i * -step)), angle = w * frequency;
        out[i] = (float)sin((double)angle);
        out[half + i] = (float)cos((double)angle);
    }
    if (dim % 2)
        out[dim - 1] = 0;
}

void at_condition_fill(const struct at_unet_config *u, int tokens, const struct at_condition *c, float *row)
{
    size_t text = at_condition_floats(u, tokens) - (size_t)extra_floats(u);
    memcpy(row, c->text, text * sizeof(float));
    row += text;
    if (u->addition_time) {
        at_sizes_fill(c->sizes, row);
        row += AT_SIZES;
    }
    if (u->guidance_dim)
        at_guidance_embed(c->guidance, u->guidance_dim, row);
}

struct at_node *at_condition_unet(struct at_builder *b, const struct at_unet_config *u, struct at_node *x,
                                  struct at_node *t, struct at_node *rows)
{
    if (!rows)
        return NULL;
    struct at_unet_inputs in = {.x = x, .t = t};
    int64_t n = rows->shape.dim[0], floats = at_shape_last(rows->shape), pooled = pooled_floats(u);
    int64_t at = floats - pooled - extra_floats(u), width = u->context[0];
    if (at < width || at % width)
        return at_graph_fail(b->g, "rows of %lld floats tell this model nothing", (long long)floats);
    struct at_node *hidden = at < floats ? at_slice(b->g, rows, 0, at) : rows;
    in.context = at_view(b->g, hidden, 0, AT_SHAPE(n, at / width, width));
    if (u->addition_time) {
        in.pooled = at_slice(b->g, rows, at, pooled);
        in.time_ids = at_slice(b->g, rows, at + pooled, AT_SIZES);
        at += pooled + AT_SIZES;
    }
    if (u->guidance_dim)
        in.guidance = at_slice(b->g, rows, at, u->guidance_dim);
    return at_unet(b, u, &in);
}
