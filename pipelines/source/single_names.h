// SPDX-License-Identifier: Apache-2.0
// Names of the tensors in a single-file checkpoint (the layout of the original repositories: CompVis, Stability AI,
// OpenCLIP), and where they belong in diffusers. Pure functions of the names.
#ifndef PIPELINES_SOURCE_SINGLE_NAMES_H
#define PIPELINES_SOURCE_SINGLE_NAMES_H

#include "core/io/safetensors.h"
#include "core/models/layers.h"
#include "core/models/unet.h"

enum at_single_part { AT_SINGLE_UNET, AT_SINGLE_VAE, AT_SINGLE_TEXT, AT_SINGLE_TEXT_2, AT_SINGLE_PARTS };

#define AT_SINGLE_BLOCKS 128 // input or output blocks of a denoiser

// Where the blocks of the original count lie: (level, layer), layer -1 for a downsampler.
struct at_single_blocks {
    int count;
    int level[AT_SINGLE_BLOCKS], layer[AT_SINGLE_BLOCKS];
};

// What must be known of a file before a name says all.
struct at_single_layout {
    enum at_family family;
    struct at_single_blocks in, out; // of the denoiser
    int vae_levels;
    int text_layers, text_used; // of OpenCLIP's encoder
};

void at_single_layout_read(const struct at_safetensors *file, enum at_family family, struct at_single_layout *layout);

enum at_single_kind {
    AT_SINGLE_UNKNOWN,
    AT_SINGLE_IGNORED,   // a buffer, a training's state, an average of weights: no model reads it
    AT_SINGLE_WHOLE,     // one weight
    AT_SINGLE_QKV,       // rows of three weights: `name` has %c for q, k and v
    AT_SINGLE_TRANSPOSED // one weight, its matrix transposed
};

struct at_single_place {
    enum at_single_kind kind;
    enum at_single_part part;
    char name[512]; // in diffusers
    int rank;       // of the shape there; 0: as it is
};

void at_single_place(const struct at_single_layout *layout, const char *name, struct at_single_place *place);

// The other way: what such a file calls a weight of diffusers (of text encoders with "text_model.").
struct at_single_original {
    char name[512];
    int third;      // 0, 1 or 2: it is the rows of q, k or v in one of three; -1: it is whole
    bool transpose; // its matrix is transposed there
    int rank;       // of the shape there; 0: as it is
};
// False: the original layout has no place for it.
bool at_single_original(enum at_family family, enum at_single_part part, const struct at_unet_config *unet,
                        int vae_levels, const char *name, struct at_single_original *out);

#endif
