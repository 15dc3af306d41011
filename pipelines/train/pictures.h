// SPDX-License-Identifier: Apache-2.0
// Pictures with captions to train from: the emoji maker, or an imagefolder.
#ifndef PIPELINES_TRAIN_PICTURES_H
#define PIPELINES_TRAIN_PICTURES_H

#include "pipelines/model/condition.h"

#include <stdint.h>

struct at_picture_source {
    const char *imagefolder; // NULL: emoji
    int size;                // side in pixels
    int names;               // emoji: how many; 0: the default
    uint64_t seed;
};

struct at_pictures;

struct at_pictures *at_pictures_open(const struct at_picture_source *source, struct at_log *log);
void at_pictures_close(struct at_pictures **p);
// Different pictures of the source: emoji names or images. Picture i shows number i mod count.
int64_t at_pictures_count(const struct at_pictures *p);
// Picture `index` as (size,size,3) in -1 .. 1 into rgb, and how it was cut into sizes (NULL: not wanted); its caption,
// which lives as long as the source. NULL on failure.
const char *at_pictures_draw(struct at_pictures *p, uint64_t index, float *rgb, struct at_sizes *sizes);

#endif
