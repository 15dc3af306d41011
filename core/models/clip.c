// SPDX-License-Identifier: Apache-2.0
// Names and order of the layers: transformers src/transformers/models/clip/modeling_clip.py.
#include "core/models/clip.h"

#include <string.h>

bool at_clip_config_parse(struct at_json c, struct at_clip_config *out)
{
    static const char *const acts[] = {"quick_gelu", "gelu", NULL};
    *out = (struct at_clip_config){0};
    const char *class = "CLIPTextModel";
    struct at_json architectures;
    if (!at_json_array(c, "architectures", &architectures))
        return false;
    if (at_json_count(architectures) && !at_json_as_str(at_json_at(architectures, 0), &class))
        return false;
    bool projected = strcmp(class, "CLIPTextModelWithProjection") == 0;
    if (!projected && strcmp(class, "CLIPTextModel") != 0)
        return at_json_fail(architectures, "\"%s\" is not supported, only CLIPTextModel and "
                            "CLIPTextModelWithProjection", class);
    double eps;
    int act, projection;
    bool ok = at_json_int(c, "vocab_size", 49408, 1, 1 << 24, &out->vocab) &&
              at_json_int(c, "hidden_size", 512, 1, 1 << 16, &out->width) &&
              at_json_int(c, "intermediate_size", 2048, 1, 1 << 20, &out->mlp) &&
              at_json_int(c, "num_hidden_layers", 12, 1, 1024, &out->layers) &&
              at_json_int(c, "num_attention_heads", 8, 1, 1024, &out->heads) &&
              at_json_int(c, "max_position_embeddings", 77, 1, 1 << 16, &out->positions) &&
              at_json_enum(c, "hidden_act", acts, 0, &act) && at_json_num(c, "layer_norm_eps", 1e-5, &eps) &&
              at_json_int(c, "eos_token_id", 49407, 0, 1 << 24, &out->eos) &&
              at_json_int(c, "projection_dim", 512, 1, 1 << 16, &projection);
    if (!ok)
        return false;
    if (out->width % out->heads)
        return at_json_fail(at_json_get(c, "num_attention_heads"), "%d heads do not divide hidden_size %d", out->heads,
                            out->width);
    if (!(eps > 0 && eps < 1))
        return at_json_fail(at_json_get(c, "layer_norm_eps"), "%g is out of range; it must lie between 0 and 1", eps);
    out->act = act == 0 ? AT_ACT_QUICK_GELU : AT_ACT_GELU;
    out->eps = (float)eps;
    out->projection = projected ? projection : 0;
    return true;
}

bool at_clip_bare(const struct at_safetensors *file)
{
    return at_safetensors_find(file, "embeddings.token_embedding.weight") != NULL;
}

static struct at_node *layer(struct at_builder *b, const struct at_clip_config *c, int index, struct at_node *x)
{
    at_graph_segment_begin(b->g);
    at_scope_push(b, "encoder.layers.%d", index);
    struct at_node *h = at_build_layer_norm(b, "layer_norm1", x, c->eps);
    at_scope_push(b, "self_attn");
    struct at_node *q = at_build_linear(b, "q_proj", h, c->width, true);
    struct at_node *k = at_build_linear(b, "k_proj", h, c->width, true);
    struct at_node *v = at_build_linear(b, "v_proj", h, c->width, true);
    h = at_attention(b->g, q, k, v, &(struct at_attention_params){.heads = c->heads, .causal = true});
    x = at_add(b->g, x, at_build_linear(b, "out_proj", h, c->width, true));
    at_scope_pop(b);
    h = at_build_layer_norm(b, "layer_norm2", x, c->eps);
    h = at_act(b->g, at_build_linear(b, "mlp.fc1", h, c->mlp, true), c->act);
    x = at_add(b->g, x, at_build_linear(b, "mlp.fc2", h, c->width, true));
    at_scope_pop(b);
    at_graph_segment_end(b->g);
    return x;
}

static struct at_node *embeddings(struct at_builder *b, const struct at_clip_config *c, struct at_node *ids)
{
    int64_t n = ids->shape.dim[0], length = ids->shape.dim[1];
    at_scope_push(b, "embeddings");
    struct at_node *x = at_build_embedding(b, "token_embedding", ids, c->vocab, c->width, 0.02f);
    struct at_node *p = at_build_param(b, "position_embedding.weight", AT_SHAPE(c->positions, c->width),
                                       AT_LAYOUT_F32, (struct at_init){AT_INIT_NORMAL, 0.01f});
    at_scope_pop(b);
    if (length > c->positions)
        return at_graph_fail(b->g, "%lld tokens, but the text encoder has %d positions", (long long)length,
                             c->positions);
    // The first L rows of the table as one row of L * width values, added to every sample.
    x = at_bias(b->g, at_view(b->g, x, 0, AT_SHAPE(n, length * c->width)),
                at_view(b->g, p, 0, AT_SHAPE(length * c->width)));
    return at_view(b->g, x, 0, AT_SHAPE(n, length, c->width));
}

struct at_node *at_clip_text(struct at_builder *b, const struct at_clip_config *c, const struct at_clip_inputs *in,
                             struct at_node **pooled)
{
    if (pooled)
        *pooled = NULL;
    if (!in->ids)
        return NULL;
    if (!c->bare)
        at_scope_push(b, "text_model");
    struct at_node *x = embeddings(b, c, in->ids), *hidden = NULL;
    for (int i = 0; i < c->layers; i++) {
        if (i == c->layers - in->skip)
            hidden = x;
        x = layer(b, c, i, x);
    }
    if (!in->skip)
        hidden = x;
    struct at_node *last = at_build_layer_norm(b, "final_layer_norm", x, c->eps);
    if (in->raw)
        x = hidden;
    else
        x = in->skip ? at_build_layer_norm(b, "final_layer_norm", hidden, c->eps) : last;
    if (!c->bare)
        at_scope_pop(b);
    struct at_node *p = NULL;
    if (in->end)
        p = at_pick(b->g, last, in->end);
    if (c->projection) {
        // Declared even where nobody reads it, so that the file's tensors are all accounted for.
        struct at_node *source = p ? p : at_view(b->g, last, 0, AT_SHAPE(1, c->width));
        struct at_node *projected = at_build_linear(b, "text_projection", source, c->projection, false);
        p = p ? projected : NULL;
    }
    if (pooled)
        *pooled = p;
    return x;
}

int at_clip_end(const struct at_clip_config *c, const int32_t *ids, int n)
{
    int best = 0;
    for (int i = 0; i < n; i++) {
        if (c->eos != 2 && ids[i] == c->eos)
            return i;
        if (c->eos == 2 && ids[i] > ids[best])
            best = i;
    }
    return best;
}
