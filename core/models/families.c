// SPDX-License-Identifier: Apache-2.0
// The widely used models, as their published config.json say it, where that differs from the defaults.
#include "core/models/clip.h"
#include "core/models/layers.h"
#include "core/models/unet.h"

#include <string.h>

static const struct {
    const char *name, *unet, *text[2];
} families[AT_FAMILIES] = {
    {"SD 1.x",
     "{\"cross_attention_dim\":768}",
     {"{\"hidden_size\":768,\"intermediate_size\":3072,\"num_attention_heads\":12}"}},
    {"SD 2.x",
     "{\"cross_attention_dim\":1024,\"attention_head_dim\":[5,10,20,20],\"use_linear_projection\":true}",
     {"{\"hidden_size\":1024,\"intermediate_size\":4096,\"num_attention_heads\":16,\"num_hidden_layers\":23}"}},
    {"SDXL",
     "{\"block_out_channels\":[320,640,1280],\"cross_attention_dim\":2048,\"attention_head_dim\":[5,10,20],"
     "\"transformer_layers_per_block\":[1,2,10],\"use_linear_projection\":true,\"addition_embed_type\":\"text_time\","
     "\"down_block_types\":[\"DownBlock2D\",\"CrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\"],"
     "\"up_block_types\":[\"CrossAttnUpBlock2D\",\"CrossAttnUpBlock2D\",\"UpBlock2D\"],"
     "\"addition_time_embed_dim\":256,\"projection_class_embeddings_input_dim\":2816}",
     {"{\"hidden_size\":768,\"intermediate_size\":3072,\"num_attention_heads\":12}",
      "{\"hidden_size\":1280,\"intermediate_size\":5120,\"num_attention_heads\":20,\"num_hidden_layers\":32,"
      "\"projection_dim\":1280,\"architectures\":[\"CLIPTextModelWithProjection\"]}"}},
};

const char *at_family_name(enum at_family family)
{
    return families[family].name;
}

static bool add_unet(struct at_layers *l, const char *text)
{
    struct at_unet_config config;
    struct at_json_doc *doc = at_json_parse(l->log, "config", text, strlen(text), NULL);
    bool ok = doc && at_unet_config_parse(at_json_root(doc), &config) && at_layers_add_unet(l, &config);
    at_json_destroy(&doc);
    return ok;
}

static bool add_text(struct at_layers *l, enum at_component component, const char *text)
{
    struct at_clip_config config;
    struct at_json_doc *doc = at_json_parse(l->log, "config", text, strlen(text), NULL);
    bool ok = doc && at_clip_config_parse(at_json_root(doc), &config) && at_layers_add_text(l, component, &config);
    at_json_destroy(&doc);
    return ok;
}

struct at_layers *at_layers_family(struct at_log *log, enum at_family family)
{
    struct at_layers *l = at_layers_create(log);
    bool ok = l && add_unet(l, families[family].unet);
    for (int i = 0; ok && i < 2; i++)
        if (families[family].text[i])
            ok = add_text(l, (enum at_component)(AT_COMPONENT_TEXT + i), families[family].text[i]);
    if (!ok)
        at_layers_destroy(&l);
    return l;
}
