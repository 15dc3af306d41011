// SPDX-License-Identifier: Apache-2.0
// Facts: the configs in the repositories stable-diffusion-v1-5, stable-diffusion-2-1 and stable-diffusion-xl-base-1.0.
#include "pipelines/source/single_config.h"

#include "core/base/alloc.h"
#include "core/models/unet.h"
#include "core/models/vae.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD 64       // channels of a head, but for the denoiser of SD 1.x
#define SD1_HEADS 8
#define LAYERS 1024

struct making {
    struct at_log *log;
    const struct at_single_config_params *p;
    bool ok;
};

static const struct at_st_tensor *at(struct making *m, const char *format, int i, int j)
{
    char name[160];
    snprintf(name, sizeof(name), format, i, j);
    return at_safetensors_find(m->p->weights, name);
}

// A size of the shape of a weight that must be there.
static int size_of(struct making *m, int dim, const char *format, int i, int j)
{
    const struct at_st_tensor *t = at(m, format, i, j);
    char name[160];
    snprintf(name, sizeof(name), format, i, j);
    if (!m->ok)
        return 1;
    if (!t || dim >= t->rank || t->shape[dim] < 1 || t->shape[dim] > (1 << 24)) {
        m->ok = at_fail(m->log, AT_ERROR_INPUT, "%s: the weight %s is missing or of an odd shape; the checkpoint is "
                        "incomplete", m->p->name, name);
        return 1;
    }
    return (int)t->shape[dim];
}

// How many i there are, counted from 0.
static int count_first(struct making *m, const char *format, int most)
{
    int n = 0;
    while (n < most && at(m, format, n, 0))
        n++;
    return n;
}

static int count_second(struct making *m, const char *format, int i, int most)
{
    int n = 0;
    while (n < most && at(m, format, i, n))
        n++;
    return n;
}

static void put_ints(struct at_json root, const char *key, const int *values, int n)
{
    struct at_json array = at_json_put_array(root, key);
    for (int i = 0; i < n; i++)
        at_json_put_int(array, NULL, values[i]);
}

static void put_types(struct at_json root, const char *key, const bool *cross, int n, const char *way)
{
    struct at_json array = at_json_put_array(root, key);
    char type[64];
    for (int i = 0; i < n; i++) {
        snprintf(type, sizeof(type), "%s%sBlock2D", cross[i] ? "CrossAttn" : "", way);
        at_json_put_str(array, NULL, type);
    }
}

struct unet_levels {
    int count, channels[AT_UNET_BLOCKS], layers[AT_UNET_BLOCKS], depth[AT_UNET_BLOCKS], heads[AT_UNET_BLOCKS];
    bool down[AT_UNET_BLOCKS], up[AT_UNET_BLOCKS];
};

static void read_levels(struct making *m, struct unet_levels *l)
{
    l->count = count_first(m, "down_blocks.%d.resnets.0.conv1.weight", AT_UNET_BLOCKS);
    for (int i = 0; i < l->count; i++) {
        l->channels[i] = size_of(m, 0, "down_blocks.%d.resnets.0.conv1.weight", i, 0);
        l->layers[i] = count_second(m, "down_blocks.%d.resnets.%d.conv1.weight", i, LAYERS);
        l->down[i] = at(m, "down_blocks.%d.attentions.0.norm.weight", i, 0);
        l->up[i] = at(m, "up_blocks.%d.attentions.0.norm.weight", i, 0);
        l->depth[i] = count_second(m, "down_blocks.%d.attentions.0.transformer_blocks.%d.norm1.weight", i, LAYERS);
        l->heads[i] = m->p->family == AT_FAMILY_SD1 ? SD1_HEADS : l->channels[i] / HEAD;
    }
    // The level without attention on the way down: that of the middle counts.
    if (l->count && !l->depth[l->count - 1])
        l->depth[l->count - 1] = count_first(m, "mid_block.attentions.0.transformer_blocks.%d.norm1.weight", LAYERS);
    for (int i = 0; i < l->count; i++)
        l->depth[i] = l->depth[i] ? l->depth[i] : 1;
}

static const char *const any_attention[] = {"mid_block.attentions.0.", "down_blocks.0.attentions.0.",
                                            "down_blocks.1.attentions.0.", "up_blocks.0.attentions.0."};

// The width of the text that the denoiser attends to, and whether its projections are linear.
static int read_cross(struct making *m, bool *linear)
{
    char name[160];
    for (size_t i = 0; i < sizeof(any_attention) / sizeof(*any_attention); i++) {
        snprintf(name, sizeof(name), "%sproj_in.weight", any_attention[i]);
        const struct at_st_tensor *in = at_safetensors_find(m->p->weights, name);
        snprintf(name, sizeof(name), "%stransformer_blocks.0.attn2.to_k.weight", any_attention[i]);
        if (in) {
            *linear = in->rank == 2;
            return size_of(m, 1, name, 0, 0);
        }
    }
    return size_of(m, 1, "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 0, 0);
}

static void unet(struct making *m, int pixels, struct at_json root)
{
    struct unet_levels l = {0};
    bool linear = false;
    read_levels(m, &l);
    int context = read_cross(m, &linear);
    at_json_put_str(root, "_class_name", "UNet2DConditionModel");
    at_json_put_int(root, "sample_size", pixels / m->p->factor);
    at_json_put_int(root, "in_channels", size_of(m, 1, "conv_in.weight", 0, 0));
    at_json_put_int(root, "out_channels", size_of(m, 0, "conv_out.weight", 0, 0));
    put_ints(root, "block_out_channels", l.channels, l.count);
    put_types(root, "down_block_types", l.down, l.count, "Down");
    put_types(root, "up_block_types", l.up, l.count, "Up");
    bool even = true;
    for (int i = 1; i < l.count; i++)
        even = even && l.layers[i] == l.layers[0];
    if (even)
        at_json_put_int(root, "layers_per_block", l.layers[0]);
    else
        put_ints(root, "layers_per_block", l.layers, l.count);
    put_ints(root, "transformer_layers_per_block", l.depth, l.count);
    put_ints(root, "attention_head_dim", l.heads, l.count);
    at_json_put_int(root, "cross_attention_dim", context);
    at_json_put_bool(root, "use_linear_projection", linear);
    if (!at(m, "mid_block.resnets.0.conv1.weight", 0, 0))
        at_json_put_str(root, "mid_block_type", NULL);
    if (m->p->family == AT_FAMILY_SDXL) {
        int input = size_of(m, 1, "add_embedding.linear_1.weight", 0, 0);
        at_json_put_str(root, "addition_embed_type", "text_time");
        at_json_put_int(root, "addition_time_embed_dim", (input - m->p->projection) / 6);
        at_json_put_int(root, "projection_class_embeddings_input_dim", input);
    }
}

static void vae(struct making *m, int pixels, struct at_json root)
{
    int levels = count_first(m, "encoder.down_blocks.%d.resnets.0.conv1.weight", AT_VAE_BLOCKS), channels[AT_VAE_BLOCKS];
    for (int i = 0; i < levels; i++)
        channels[i] = size_of(m, 0, "encoder.down_blocks.%d.resnets.0.conv1.weight", i, 0);
    at_json_put_str(root, "_class_name", "AutoencoderKL");
    at_json_put_int(root, "sample_size", pixels);
    at_json_put_int(root, "in_channels", size_of(m, 1, "encoder.conv_in.weight", 0, 0));
    at_json_put_int(root, "out_channels", size_of(m, 0, "decoder.conv_out.weight", 0, 0));
    at_json_put_int(root, "latent_channels", size_of(m, 1, "decoder.conv_in.weight", 0, 0));
    put_ints(root, "block_out_channels", channels, levels);
    at_json_put_int(root, "layers_per_block", count_second(m, "encoder.down_blocks.%d.resnets.%d.conv1.weight", 0, LAYERS));
    struct at_json down = at_json_put_array(root, "down_block_types"), up = at_json_put_array(root, "up_block_types");
    for (int i = 0; i < levels; i++) {
        at_json_put_str(down, NULL, "DownEncoderBlock2D");
        at_json_put_str(up, NULL, "UpDecoderBlock2D");
    }
    at_json_put_num(root, "scaling_factor", m->p->family == AT_FAMILY_SDXL ? 0.13025 : 0.18215);
    at_json_put_bool(root, "use_quant_conv", at(m, "quant_conv.weight", 0, 0));
    at_json_put_bool(root, "use_post_quant_conv", at(m, "post_quant_conv.weight", 0, 0));
    at_json_put_bool(root, "mid_block_add_attention", at(m, "decoder.mid_block.attentions.0.to_q.weight", 0, 0));
    at_json_put_bool(root, "force_upcast", true);
}

static void text(struct making *m, struct at_json root)
{
    bool second = m->p->part == AT_SINGLE_TEXT_2, open = second || m->p->family == AT_FAMILY_SD2;
    int width = size_of(m, 1, "text_model.embeddings.token_embedding.weight", 0, 0);
    at_json_put_str(at_json_put_array(root, "architectures"), NULL,
                    second ? "CLIPTextModelWithProjection" : "CLIPTextModel");
    at_json_put_str(root, "model_type", "clip_text_model");
    at_json_put_int(root, "vocab_size", size_of(m, 0, "text_model.embeddings.token_embedding.weight", 0, 0));
    at_json_put_int(root, "hidden_size", width);
    at_json_put_int(root, "intermediate_size", size_of(m, 0, "text_model.encoder.layers.%d.mlp.fc1.weight", 0, 0));
    at_json_put_int(root, "num_hidden_layers", count_first(m, "text_model.encoder.layers.%d.layer_norm1.weight", LAYERS));
    at_json_put_int(root, "num_attention_heads", width >= HEAD ? width / HEAD : 1);
    at_json_put_int(root, "max_position_embeddings",
                    size_of(m, 0, "text_model.embeddings.position_embedding.weight", 0, 0));
    at_json_put_str(root, "hidden_act", open ? "gelu" : "quick_gelu");
    at_json_put_num(root, "layer_norm_eps", 1e-5);
    // Not in the file. 2 is the old value, which makes the largest id the end of the text.
    at_json_put_int(root, "bos_token_id", 0);
    at_json_put_int(root, "eos_token_id", 2);
    at_json_put_int(root, "pad_token_id", 1);
    at_json_put_int(root, "projection_dim", second ? size_of(m, 0, "text_projection.weight", 0, 0) : width);
}

// Written and read again, so that messages about a field name the file.
static struct at_json_doc *settle(struct at_log *log, const char *name, struct at_json_doc **made, bool ok)
{
    char *json = *made && ok ? at_json_text(*made, true) : NULL;
    struct at_json_doc *doc = json ? at_json_parse(log, name, json, strlen(json), NULL) : NULL;
    at_free(json);
    at_json_destroy(made);
    return doc;
}

struct at_json_doc *at_single_config(struct at_log *log, const struct at_single_config_params *p)
{
    struct making m = {.log = log, .p = p, .ok = true};
    struct at_json_doc *doc = at_json_create(log, false);
    struct at_json root = at_json_root(doc);
    int pixels = p->family == AT_FAMILY_SDXL ? 1024 : p->family == AT_FAMILY_SD2 && p->v ? 768 : 512;
    if (doc && p->part == AT_SINGLE_UNET)
        unet(&m, pixels, root);
    else if (doc && p->part == AT_SINGLE_VAE)
        vae(&m, pixels, root);
    else if (doc)
        text(&m, root);
    return settle(log, p->name, &doc, m.ok);
}

struct at_json_doc *at_single_schedule(struct at_log *log, const char *name, enum at_family family,
                                       const struct at_single_prediction *prediction)
{
    static const char *const classes[] = {"PNDMScheduler", "DDIMScheduler", "EulerDiscreteScheduler"};
    struct at_json_doc *doc = at_json_create(log, false);
    struct at_json root = at_json_root(doc);
    if (!doc)
        return NULL;
    at_json_put_str(root, "_class_name", classes[family]);
    at_json_put_int(root, "num_train_timesteps", 1000);
    at_json_put_num(root, "beta_start", 0.00085);
    at_json_put_num(root, "beta_end", 0.012);
    at_json_put_str(root, "beta_schedule", "scaled_linear");
    at_json_put_str(root, "prediction_type", prediction->type);
    at_json_put_str(root, "timestep_spacing", prediction->zero_snr ? "trailing" : "leading");
    at_json_put_int(root, "steps_offset", 1);
    at_json_put_bool(root, "set_alpha_to_one", false);
    at_json_put_bool(root, "clip_sample", false);
    at_json_put_bool(root, "skip_prk_steps", true);
    at_json_put_bool(root, "rescale_betas_zero_snr", prediction->zero_snr);
    return settle(log, name, &doc, true);
}

static void put_component(struct at_json root, const char *key, const char *library, const char *class)
{
    struct at_json pair = at_json_put_array(root, key);
    at_json_put_str(pair, NULL, library);
    at_json_put_str(pair, NULL, class);
}

struct at_json_doc *at_single_index(struct at_log *log, const char *name, enum at_family family)
{
    static const char *const schedulers[] = {"PNDMScheduler", "DDIMScheduler", "EulerDiscreteScheduler"};
    bool xl = family == AT_FAMILY_SDXL;
    struct at_json_doc *doc = at_json_create(log, false);
    struct at_json root = at_json_root(doc);
    if (!doc)
        return NULL;
    at_json_put_str(root, "_class_name", xl ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline");
    put_component(root, "scheduler", "diffusers", schedulers[family]);
    put_component(root, "text_encoder", "transformers", "CLIPTextModel");
    put_component(root, "tokenizer", "transformers", "CLIPTokenizer");
    if (xl) {
        put_component(root, "text_encoder_2", "transformers", "CLIPTextModelWithProjection");
        put_component(root, "tokenizer_2", "transformers", "CLIPTokenizer");
        at_json_put_bool(root, "force_zeros_for_empty_prompt", true);
    } else {
        put_component(root, "safety_checker", NULL, NULL);
        at_json_put_bool(root, "requires_safety_checker", false);
    }
    put_component(root, "feature_extractor", NULL, NULL);
    put_component(root, "image_encoder", NULL, NULL);
    put_component(root, "unet", "diffusers", "UNet2DConditionModel");
    put_component(root, "vae", "diffusers", "AutoencoderKL");
    return settle(log, name, &doc, true);
}
