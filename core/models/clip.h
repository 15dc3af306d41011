// SPDX-License-Identifier: Apache-2.0
// CLIPTextModel and CLIPTextModelWithProjection, from their transformers config.json.
#ifndef CORE_MODELS_CLIP_H
#define CORE_MODELS_CLIP_H

#include "core/io/json.h"
#include "core/models/builder.h"

struct at_clip_config {
    int vocab, width, mlp, layers, heads, positions;
    enum at_act act;
    float eps;
    int eos;        // eos_token_id; 2 stands for the old configs, where the largest id is the end
    int projection; // projection_dim, of CLIPTextModelWithProjection; 0: none
    bool bare;      // weights are named without "text_model."; not in the config, see at_clip_bare
};

AT_NODISCARD bool at_clip_config_parse(struct at_json config, struct at_clip_config *out);
// Whether the file has the names that transformers 5 gives a CLIPTextModel: without "text_model.". Older versions, and
// CLIPTextModelWithProjection to this day, write it.
bool at_clip_bare(const struct at_safetensors *file);

struct at_clip_inputs {
    struct at_node *ids; // (N,L) token ids, L at most `positions`
    struct at_node *end; // (N) position of the end token, for pooled; NULL: no pooled output
    int skip;            // layers left out at the end: 0 all run, 1 the penultimate hidden state
    bool raw;            // without the final layer norm (as SDXL reads the penultimate state)
};
// Hidden states (N,L,width). *pooled (may be NULL) is the state at `end` after all layers and the final norm, projected
// if the model has a projection: (N,width or projection).
struct at_node *at_clip_text(struct at_builder *b, const struct at_clip_config *c, const struct at_clip_inputs *in,
                             struct at_node **pooled);

// Position of the end token among the n ids of one prompt, as transformers finds it.
int at_clip_end(const struct at_clip_config *c, const int32_t *ids, int n);

#endif
