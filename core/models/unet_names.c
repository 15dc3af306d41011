// SPDX-License-Identifier: Apache-2.0
// The original implementation numbers the blocks of a UNet in one row: input_blocks.N, middle_block.N, output_blocks.N,
// each a list of a residual block, a transformer if there is one, and a change of size.
#include "core/models/layers.h"
#include "core/models/unet.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct pair {
    const char *here, *there;
};

static const struct pair whole[] = {
    {"conv_in", "input_blocks.0.0"},
    {"conv_norm_out", "out.0"},
    {"conv_out", "out.2"},
    {"time_embedding.linear_1", "time_embed.0"},
    {"time_embedding.linear_2", "time_embed.2"},
    {"add_embedding.linear_1", "label_emb.0.0"},
    {"add_embedding.linear_2", "label_emb.0.2"},
    {NULL, NULL},
};

static const struct pair in_resnet[] = {
    {"norm1", "in_layers.0"},  {"conv1", "in_layers.2"},  {"time_emb_proj", "emb_layers.1"},
    {"norm2", "out_layers.0"}, {"conv2", "out_layers.3"}, {"conv_shortcut", "skip_connection"},
    {NULL, NULL},
};

static const char *translate(const struct pair *list, const char *name)
{
    for (; list->here; list++)
        if (strcmp(list->here, name) == 0)
            return list->there;
    return NULL;
}

struct text {
    char *out;
    size_t size;
};

AT_PRINTF(2, 3) static bool put(struct text t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t.out, t.size, fmt, args);
    va_end(args);
    return n >= 0 && (size_t)n < t.size;
}

// What stands inside of element `slot` of a row's block: "input_blocks.4.1.proj_in".
static bool inside(struct text t, const char *row, int block, int slot, bool resnet, const char *rest)
{
    const char *inner = resnet ? translate(in_resnet, rest) : rest;
    return inner && put(t, "%s.%d.%d.%s", row, block, slot, inner);
}

// "KIND.INDEX.REST" of a level's blocks, the first of which is number `first` of the row.
static bool in_level(struct text t, const char *row, int first, int layers, int size_slot, const char *text)
{
    char kind[16];
    int index, n = 0;
    if (sscanf(text, "%15[a-z].%d.%n", kind, &index, &n) < 2 || !n || index < 0)
        return false;
    const char *rest = text + n;
    if (strcmp(kind, "resnets") == 0)
        return inside(t, row, first + index, 0, true, rest);
    if (strcmp(kind, "attentions") == 0)
        return inside(t, row, first + index, 1, false, rest);
    if (strcmp(rest, "conv") != 0)
        return false;
    if (strcmp(kind, "downsamplers") == 0)
        return inside(t, row, first + layers, 0, false, "op");
    return strcmp(kind, "upsamplers") == 0 && inside(t, row, first + layers, size_slot, false, "conv");
}

static bool in_middle(struct text t, const char *text)
{
    char kind[16];
    int index, n = 0;
    if (sscanf(text, "%15[a-z].%d.%n", kind, &index, &n) < 2 || !n)
        return false;
    bool resnet = strcmp(kind, "resnets") == 0;
    const char *inner = resnet ? translate(in_resnet, text + n) : text + n;
    return inner && put(t, "middle_block.%d.%s", resnet ? 2 * index : 1, inner);
}

bool at_unet_original_name(const struct at_unet_config *c, const char *name, char *out, size_t size)
{
    struct text t = {out, size};
    int level, n = 0, first = 0;
    const char *fixed = translate(whole, name);
    if (fixed)
        return put(t, "%s", fixed);
    if (strncmp(name, "mid_block.", 10) == 0)
        return in_middle(t, name + 10);
    if (sscanf(name, "down_blocks.%d.%n", &level, &n) == 1 && n && level >= 0 && level < c->blocks) {
        for (int i = 0; i < level; i++)
            first += c->layers[i] + 1;
        return in_level(t, "input_blocks", 1 + first, c->layers[level], 0, name + n);
    }
    if (sscanf(name, "up_blocks.%d.%n", &level, &n) == 1 && n && level >= 0 && level < c->blocks) {
        for (int i = 0; i < level; i++)
            first += c->layers[c->blocks - 1 - i] + 1;
        return in_level(t, "output_blocks", first, c->layers[c->blocks - 1 - level], c->up_attention[level] ? 2 : 1,
                        name + n);
    }
    return false;
}
