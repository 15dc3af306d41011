// SPDX-License-Identifier: Apache-2.0
// Facts: as in single_names.c, and diffusers scripts/convert_diffusers_to_original_stable_diffusion.py and _sdxl.py.
#include "pipelines/source/single_names.h"
#include "pipelines/source/single_parse.h"

#include <stdarg.h>
#include <stdio.h>

#define LEVELS 16

__attribute__((format(printf, 2, 3))) static bool put(struct at_single_original *o, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(o->name, sizeof(o->name), format, args);
    va_end(args);
    return n > 0 && (size_t)n < sizeof(o->name);
}

static bool unet_name(const struct at_unet_config *c, const char *name, struct at_single_original *o)
{
    char stem[512], there[512];
    const char *dot = strrchr(name, '.');
    if (!dot || (size_t)(dot - name) >= sizeof(stem))
        return false;
    snprintf(stem, sizeof(stem), "%.*s", (int)(dot - name), name);
    return at_unet_original_name(c, stem, there, sizeof(there)) && put(o, "model.diffusion_model.%s%s", there, dot);
}

// Within an encoder or decoder, which is called `where`.
static bool vae_half(const char *where, int levels, const char *name, struct at_single_original *o)
{
    static const struct rename ends[] = {{"conv_in.", "conv_in."}, {"conv_out.", "conv_out."}, {"conv_norm_out.", "norm_out."}};
    static const struct rename attention[] = {{"group_norm.", "norm."}, {"to_q.", "q."}, {"to_k.", "k."}, {"to_v.", "v."},
                                              {"to_out.0.", "proj_out."}};
    int level, block;
    const char *to = RENAMED(&name, ends);
    if (to)
        return put(o, "first_stage_model.%s%s%s", where, to, name);
    if (take(&name, "mid_block.resnets."))
        return take_number(&name, 2, &block) && put(o, "first_stage_model.%smid.block_%d.%s", where, block + 1, name);
    if (take(&name, "mid_block.attentions.0.")) {
        to = RENAMED(&name, attention);
        o->rank = to && to[0] != 'n' && strcmp(name, "weight") == 0 ? 4 : 0; // convolutions of one tap
        return to && put(o, "first_stage_model.%smid.attn_1.%s%s", where, to, name);
    }
    bool up = take(&name, "up_blocks.");
    if ((!up && !take(&name, "down_blocks.")) || !take_number(&name, levels, &level))
        return false;
    const char *way = up ? "up" : "down";
    level = up ? levels - 1 - level : level;
    if (take(&name, "resnets.")) {
        if (!take_number(&name, LEVELS, &block))
            return false;
        const char *shortcut = take(&name, "conv_shortcut.") ? "nin_shortcut." : "";
        return put(o, "first_stage_model.%s%s.%d.block.%d.%s%s", where, way, level, block, shortcut, name);
    }
    return take(&name, up ? "upsamplers.0.conv." : "downsamplers.0.conv.") &&
           put(o, "first_stage_model.%s%s.%d.%ssample.conv.%s", where, way, level, way, name);
}

static bool vae_name(int levels, const char *name, struct at_single_original *o)
{
    if (strncmp(name, "quant_conv.", 11) == 0 || strncmp(name, "post_quant_conv.", 16) == 0)
        return put(o, "first_stage_model.%s", name);
    return (take(&name, "encoder.") && vae_half("encoder.", levels, name, o)) ||
           (take(&name, "decoder.") && vae_half("decoder.", levels, name, o));
}

static bool open_clip_name(const char *prefix, const char *name, struct at_single_original *o)
{
    static const struct rename fixed[] = {
        {"text_model.final_layer_norm.", "ln_final."},
        {"text_model.embeddings.token_embedding.", "token_embedding."},
        {"text_model.embeddings.position_embedding.weight", "positional_embedding"},
        {"text_projection.weight", "text_projection"}};
    static const struct rename in_layer[] = {{"layer_norm1.", "ln_1."},
                                             {"layer_norm2.", "ln_2."},
                                             {"mlp.fc1.", "mlp.c_fc."},
                                             {"mlp.fc2.", "mlp.c_proj."},
                                             {"self_attn.out_proj.", "attn.out_proj."}};
    static const struct rename thirds[] = {{"self_attn.q_proj.", "0"}, {"self_attn.k_proj.", "1"}, {"self_attn.v_proj.", "2"}};
    int layer;
    const char *all = name, *to = RENAMED(&name, fixed);
    if (to) {
        o->transpose = strcmp(all, "text_projection.weight") == 0;
        return put(o, "%s%s%s", prefix, to, name);
    }
    if (!take(&name, "text_model.encoder.layers.") || !take_number(&name, 1024, &layer))
        return false;
    if ((to = RENAMED(&name, in_layer)))
        return put(o, "%stransformer.resblocks.%d.%s%s", prefix, layer, to, name);
    if (!(to = RENAMED(&name, thirds)))
        return false;
    o->third = to[0] - '0';
    return put(o, "%stransformer.resblocks.%d.attn.in_proj_%s", prefix, layer, name);
}

bool at_single_original(enum at_family family, enum at_single_part part, const struct at_unet_config *unet,
                        int vae_levels, const char *name, struct at_single_original *o)
{
    *o = (struct at_single_original){.third = -1};
    if (part == AT_SINGLE_UNET)
        return unet_name(unet, name, o);
    if (part == AT_SINGLE_VAE)
        return vae_name(vae_levels, name, o);
    if (part == AT_SINGLE_TEXT_2)
        return open_clip_name("conditioner.embedders.1.model.", name, o);
    if (family == AT_FAMILY_SD2)
        return open_clip_name("cond_stage_model.model.", name, o);
    const char *clip = family == AT_FAMILY_SD1 ? "cond_stage_model.transformer." : "conditioner.embedders.0.transformer.";
    return strncmp(name, "text_model.", 11) == 0 && put(o, "%s%s", clip, name);
}
