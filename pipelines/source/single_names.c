// SPDX-License-Identifier: Apache-2.0
// Facts: diffusers src/diffusers/loaders/single_file_utils.py; ldm and open_clip name their modules.
#include "pipelines/source/single_names.h"

#include "pipelines/source/single_parse.h"

#include <stdio.h>
#include <stdlib.h>

#define UNET "model.diffusion_model."
#define VAE "first_stage_model."
#define OPEN_CLIP_H 24 // layers

static const struct at_st_tensor *find(const struct at_safetensors *file, const char *format, int i)
{
    char name[128];
    snprintf(name, sizeof(name), format, i);
    return at_safetensors_find(file, name);
}

static void read_inputs(const struct at_safetensors *file, struct at_single_blocks *b)
{
    int level = 0, layer = 0;
    for (b->count = 1; b->count < AT_SINGLE_BLOCKS; b->count++) {
        int i = b->count;
        bool down = find(file, UNET "input_blocks.%d.0.op.weight", i);
        if (!down && !find(file, UNET "input_blocks.%d.0.in_layers.0.weight", i))
            return;
        b->level[i] = level;
        b->layer[i] = down ? -1 : layer++;
        level += down;
        layer = down ? 0 : layer;
    }
}

static void read_outputs(const struct at_safetensors *file, struct at_single_blocks *b)
{
    int level = 0, layer = 0;
    for (b->count = 0; b->count < AT_SINGLE_BLOCKS; b->count++) {
        int i = b->count;
        if (!find(file, UNET "output_blocks.%d.0.in_layers.0.weight", i))
            return;
        bool up = find(file, UNET "output_blocks.%d.1.conv.weight", i) || find(file, UNET "output_blocks.%d.2.conv.weight", i);
        b->level[i] = level;
        b->layer[i] = layer++;
        level += up;
        layer = up ? 0 : layer;
    }
}

void at_single_layout_read(const struct at_safetensors *file, enum at_family family, struct at_single_layout *l)
{
    *l = (struct at_single_layout){.family = family};
    read_inputs(file, &l->in);
    read_outputs(file, &l->out);
    while (find(file, VAE "decoder.up.%d.block.0.conv1.weight", l->vae_levels))
        l->vae_levels++;
    const char *layers = family == AT_FAMILY_SD2 ? "cond_stage_model.model.transformer.resblocks.%d.ln_1.weight"
                                                 : "conditioner.embedders.1.model.transformer.resblocks.%d.ln_1.weight";
    while (find(file, layers, l->text_layers))
        l->text_layers++;
    // SD 2.x reads the last state but one of OpenCLIP's H, which has 24 layers; diffusers leaves the last one out, and so
    // do files converted from it, which have no projection either.
    bool whole = l->text_layers == OPEN_CLIP_H || find(file, "cond_stage_model.model.text_projection", 0);
    l->text_used = l->text_layers - (family == AT_FAMILY_SD2 && whole && l->text_layers != OPEN_CLIP_H - 1);
}

// Fills in the place of a weight that is `head` and `tail` in diffusers.
static void put(struct at_single_place *p, const char *head, const char *tail)
{
    int n = snprintf(p->name, sizeof(p->name), "%s%s", head, tail);
    p->kind = n > 0 && (size_t)n < sizeof(p->name) ? AT_SINGLE_WHOLE : AT_SINGLE_UNKNOWN;
}

// A ResNet block of the denoiser, called `block` in diffusers.
static void unet_resnet(const char *block, const char *name, struct at_single_place *p)
{
    static const struct rename table[] = {{"in_layers.0.", "norm1."},       {"in_layers.2.", "conv1."},
                                          {"emb_layers.1.", "time_emb_proj."}, {"out_layers.0.", "norm2."},
                                          {"out_layers.3.", "conv2."},      {"skip_connection.", "conv_shortcut."}};
    char head[160];
    const char *to = RENAMED(&name, table);
    snprintf(head, sizeof(head), "%s.%s", block, to ? to : "");
    if (to)
        put(p, head, name);
}

static void unet_input(const struct at_single_layout *l, const char *name, struct at_single_place *p)
{
    int i, j;
    char block[96];
    if (!take_number(&name, l->in.count, &i) || !take_number(&name, 2, &j))
        return;
    int level = l->in.level[i], layer = l->in.layer[i];
    if (i == 0) {
        if (j == 0)
            put(p, "conv_in.", name);
    } else if (layer < 0) {
        snprintf(block, sizeof(block), "down_blocks.%d.downsamplers.0.conv.", level);
        if (j == 0 && take(&name, "op."))
            put(p, block, name);
    } else if (j == 0) {
        snprintf(block, sizeof(block), "down_blocks.%d.resnets.%d", level, layer);
        unet_resnet(block, name, p);
    } else {
        snprintf(block, sizeof(block), "down_blocks.%d.attentions.%d.", level, layer);
        put(p, block, name);
    }
}

static void unet_output(const struct at_single_layout *l, const char *name, struct at_single_place *p)
{
    int i, j;
    char block[96];
    if (!take_number(&name, l->out.count, &i) || !take_number(&name, 3, &j))
        return;
    int level = l->out.level[i], layer = l->out.layer[i];
    if (j == 0) {
        snprintf(block, sizeof(block), "up_blocks.%d.resnets.%d", level, layer);
        unet_resnet(block, name, p);
    } else if (take(&name, "conv.")) {
        snprintf(block, sizeof(block), "up_blocks.%d.upsamplers.0.conv.", level);
        put(p, block, name);
    } else if (j == 1) {
        snprintf(block, sizeof(block), "up_blocks.%d.attentions.%d.", level, layer);
        put(p, block, name);
    }
}

static void unet_name(const struct at_single_layout *l, const char *name, struct at_single_place *p)
{
    static const struct rename fixed[] = {
        {"time_embed.0.", "time_embedding.linear_1."}, {"time_embed.2.", "time_embedding.linear_2."},
        {"label_emb.0.0.", "add_embedding.linear_1."}, {"label_emb.0.2.", "add_embedding.linear_2."},
        {"out.0.", "conv_norm_out."},                  {"out.2.", "conv_out."},
        {"middle_block.1.", "mid_block.attentions.0."}};
    p->part = AT_SINGLE_UNET;
    if (take(&name, "input_blocks.")) {
        unet_input(l, name, p);
    } else if (take(&name, "output_blocks.")) {
        unet_output(l, name, p);
    } else if (take(&name, "middle_block.0.")) {
        unet_resnet("mid_block.resnets.0", name, p);
    } else if (take(&name, "middle_block.2.")) {
        unet_resnet("mid_block.resnets.1", name, p);
    } else {
        const char *to = RENAMED(&name, fixed);
        if (to)
            put(p, to, name);
    }
}

// A block or the attention in the middle of an encoder or decoder, `where`.
static void vae_middle(const char *where, const char *name, struct at_single_place *p)
{
    static const struct rename attention[] = {
        {"norm.", "group_norm."},    {"q.", "to_q."},     {"k.", "to_k."},     {"v.", "to_v."},
        {"proj_out.", "to_out.0."},  {"query.", "to_q."}, {"key.", "to_k."},   {"value.", "to_v."},
        {"proj_attn.", "to_out.0."}, {"to_q.", "to_q."},  {"to_k.", "to_k."},  {"to_v.", "to_v."},
        {"to_out.0.", "to_out.0."},  {"group_norm.", "group_norm."}};
    char head[96];
    const char *to = "";
    if (take(&name, "block_1.")) {
        snprintf(head, sizeof(head), "%smid_block.resnets.0.", where);
    } else if (take(&name, "block_2.")) {
        snprintf(head, sizeof(head), "%smid_block.resnets.1.", where);
    } else if (take(&name, "attn_1.") && (to = RENAMED(&name, attention))) {
        snprintf(head, sizeof(head), "%smid_block.attentions.0.%s", where, to);
        p->rank = to[0] == 't' && strcmp(name, "weight") == 0 ? 2 : 0;
    } else {
        return;
    }
    put(p, head, name);
}

// A level of an encoder ("down") or decoder ("up", counted from the other end).
static void vae_level(const struct at_single_layout *l, const char *where, const char *way, const char *name,
                      struct at_single_place *p)
{
    int level, block;
    char head[96];
    bool up = way[0] == 'u';
    if (!take_number(&name, up ? l->vae_levels : AT_SINGLE_BLOCKS, &level))
        return;
    level = up ? l->vae_levels - 1 - level : level;
    if (take(&name, "block.") && take_number(&name, AT_SINGLE_BLOCKS, &block))
        snprintf(head, sizeof(head), "%s%s_blocks.%d.resnets.%d.%s", where, way, level, block,
                 take(&name, "nin_shortcut.") ? "conv_shortcut." : "");
    else if (take(&name, up ? "upsample.conv." : "downsample.conv."))
        snprintf(head, sizeof(head), "%s%s_blocks.%d.%ssamplers.0.conv.", where, way, level, way);
    else
        return;
    put(p, head, name);
}

static void vae_name(const struct at_single_layout *l, const char *name, struct at_single_place *p)
{
    static const struct rename ends[] = {{"conv_in.", "conv_in."}, {"conv_out.", "conv_out."}, {"norm_out.", "conv_norm_out."}};
    const char *all = name, *where, *to;
    char head[64];
    p->part = AT_SINGLE_VAE;
    if (take(&name, "quant_conv.") || take(&name, "post_quant_conv.")) {
        put(p, all, "");
    } else if (take(&name, "loss.") || take(&name, "model_ema.")) {
        p->kind = AT_SINGLE_IGNORED;
    } else if ((take(&name, "encoder.") && (where = "encoder.")) || (take(&name, "decoder.") && (where = "decoder."))) {
        if (take(&name, "mid."))
            vae_middle(where, name, p);
        else if (where[0] == 'e' && take(&name, "down."))
            vae_level(l, where, "down", name, p);
        else if (where[0] == 'd' && take(&name, "up."))
            vae_level(l, where, "up", name, p);
        else if ((to = RENAMED(&name, ends))) {
            snprintf(head, sizeof(head), "%s%s", where, to);
            put(p, head, name);
        }
    }
}

// CLIP as transformers names it; before version 4.2x without "text_model.".
static void clip_name(const char *name, struct at_single_place *p)
{
    p->part = AT_SINGLE_TEXT;
    const char *rest = name;
    if (take(&rest, "text_projection") || take(&rest, "logit_scale") || strstr(name, "embeddings.position_ids"))
        p->kind = AT_SINGLE_IGNORED;
    else
        put(p, strncmp(name, "text_model.", 11) == 0 ? "" : "text_model.", name);
}

static void open_clip_layer(const struct at_single_layout *l, const char *name, struct at_single_place *p)
{
    static const struct rename table[] = {{"ln_1.", "layer_norm1."},
                                          {"ln_2.", "layer_norm2."},
                                          {"mlp.c_fc.", "mlp.fc1."},
                                          {"mlp.c_proj.", "mlp.fc2."},
                                          {"attn.out_proj.", "self_attn.out_proj."},
                                          {"attn.in_proj_weight", "self_attn.%c_proj.weight"},
                                          {"attn.in_proj_bias", "self_attn.%c_proj.bias"}};
    int layer;
    char head[96];
    if (!take_number(&name, l->text_layers, &layer))
        return;
    if (layer >= l->text_used) {
        p->kind = AT_SINGLE_IGNORED;
        return;
    }
    const char *to = RENAMED(&name, table);
    snprintf(head, sizeof(head), "text_model.encoder.layers.%d.%s", layer, to ? to : "");
    if (to)
        put(p, head, name);
    if (to && strchr(to, '%'))
        p->kind = name[0] ? AT_SINGLE_UNKNOWN : AT_SINGLE_QKV;
}

static void open_clip_name(const struct at_single_layout *l, const char *name, struct at_single_place *p)
{
    static const struct rename table[] = {{"ln_final.", "text_model.final_layer_norm."},
                                          {"token_embedding.", "text_model.embeddings.token_embedding."}};
    p->part = l->family == AT_FAMILY_SD2 ? AT_SINGLE_TEXT : AT_SINGLE_TEXT_2;
    const char *to;
    if (strcmp(name, "logit_scale") == 0 || strcmp(name, "attn_mask") == 0) {
        p->kind = AT_SINGLE_IGNORED;
    } else if (strcmp(name, "text_projection") == 0) {
        put(p, "text_projection.weight", "");
        p->kind = l->family == AT_FAMILY_SD2 ? AT_SINGLE_IGNORED : AT_SINGLE_TRANSPOSED;
    } else if (strcmp(name, "positional_embedding") == 0) {
        put(p, "text_model.embeddings.position_embedding.weight", "");
    } else if (take(&name, "transformer.resblocks.")) {
        open_clip_layer(l, name, p);
    } else if ((to = RENAMED(&name, table))) {
        put(p, to, name);
    }
}

static bool is_ignored(const char *name)
{
    static const char *const exact[] = {
        "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod",
        "posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
        "lvlb_weights", "scale_factor", "logvar", "global_step", "v_pred", "ztsnr", "cond_stage_model.logit_scale",
        "cond_stage_model.text_projection", "conditioner.embedders.0.logit_scale",
        "conditioner.embedders.0.text_projection"};
    static const char *const starts[] = {"model_ema.", "denoiser.", "embedding_manager."};
    for (size_t i = 0; i < sizeof(exact) / sizeof(*exact); i++)
        if (strcmp(name, exact[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++)
        if (strncmp(name, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

void at_single_place(const struct at_single_layout *l, const char *name, struct at_single_place *p)
{
    static const char *const clip[] = {"cond_stage_model.transformer.", NULL, "conditioner.embedders.0.transformer."};
    static const char *const open_clip[] = {NULL, "cond_stage_model.model.", "conditioner.embedders.1.model."};
    *p = (struct at_single_place){.kind = AT_SINGLE_UNKNOWN};
    if (is_ignored(name))
        p->kind = AT_SINGLE_IGNORED;
    else if (take(&name, UNET))
        unet_name(l, name, p);
    else if (take(&name, VAE))
        vae_name(l, name, p);
    else if (clip[l->family] && take(&name, clip[l->family]))
        clip_name(name, p);
    else if (open_clip[l->family] && take(&name, open_clip[l->family]))
        open_clip_name(l, name, p);
}
