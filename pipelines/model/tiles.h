// SPDX-License-Identifier: Apache-2.0
// An autoencoder over a picture in overlapping tiles, so that its memory does not grow with the picture. As diffusers'
// enable_tiling: a tile overlaps the next one by a quarter of its side, and there the one fades into the other linearly.
// A tile knows nothing of the picture beside it, so that the result is not that of the whole picture.
#ifndef PIPELINES_MODEL_TILES_H
#define PIPELINES_MODEL_TILES_H

#include "core/models/vae.h"

// Settings of a tile's side; else it is pixels. NONE: off, and the job has no use for tiles.
enum { AT_TILE_AUTO = 0, AT_TILE_OFF = -1, AT_TILE_NONE = -2 };

// Ways to save memory, tried in turn: 0 whole pictures, some at once; 1 one after the other; then smaller and smaller
// tiles.
#define AT_TILE_LEVELS 6

// False (logged) if the autoencoder cannot have tiles of this setting: a side must be a multiple of 4 of its latents.
AT_NODISCARD bool at_tile_check(const struct at_vae_config *vae, int setting, struct at_log *log);
// Pixels of a tile's side; 0: whole pictures, some at once. AUTO depends on the level: from the autoencoder's own
// sample_size, but at least 64 latents, it is halved, down to 16 latents; the levels after that repeat the last one.
int at_tile_side(const struct at_vae_config *vae, int height, int width, int setting, int level);

// What a map from pictures to pictures makes of one picture, part by part.
struct at_tiling {
    int height, width;             // of what goes in
    int in_channels, out_channels;
    int tile, overlap;             // of what goes in; the overlap less than half the tile
    int up, down;                  // what comes out is up / down times as high and wide
};
// in (n,height,width,in_channels) to out. `run` maps n pictures of any size up to a tile. False: logged.
AT_NODISCARD bool at_tiles_run(const struct at_tiling *t, const float *in, int n, float *out,
                               bool (*run)(void *priv, const float *in, int n, int height, int width, float *out),
                               void *priv, struct at_log *log);

#endif
