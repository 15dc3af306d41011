// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/pictures.h"

#include "core/base/alloc.h"
#include "core/io/image.h"
#include "datasets/emoji.h"
#include "datasets/imagefolder.h"

#include <string.h>

struct at_pictures {
    struct at_log *log;
    struct at_picture_source source;
    struct at_emoji_set *emoji; // or
    struct at_imagefolder folder;
};

struct at_pictures *at_pictures_open(const struct at_picture_source *source, struct at_log *log)
{
    struct at_pictures *p = at_calloc(1, sizeof(*p));
    if (!p) {
        at_fail_memory(log, sizeof(*p));
        return NULL;
    }
    p->log = log;
    p->source = *source;
    bool ok;
    if (source->imagefolder)
        ok = at_imagefolder_read(log, source->imagefolder, &(struct at_imagefolder_params){0}, &p->folder);
    else
        ok = (p->emoji = at_emoji_open(log, &(struct at_emoji_params){0})) &&
             at_emoji_select(log, p->emoji, &(struct at_emoji_rule){.count = (size_t)source->names});
    if (!ok)
        at_pictures_close(&p);
    return p;
}

void at_pictures_close(struct at_pictures **pictures)
{
    struct at_pictures *p = *pictures;
    if (!p)
        return;
    at_emoji_close(&p->emoji);
    at_imagefolder_finish(&p->folder);
    at_free(p);
    *pictures = NULL;
}

int64_t at_pictures_count(const struct at_pictures *p)
{
    return (int64_t)(p->emoji ? p->emoji->count : p->folder.count);
}

static const char *draw_file(struct at_pictures *p, uint64_t index, float *rgb, struct at_sizes *sizes)
{
    const struct at_imagefolder_row *row = &p->folder.rows[index % p->folder.count];
    struct at_image image = {0}, square = {0};
    int size = p->source.size;
    bool ok = at_image_read(p->log, row->path, 3, &image) && at_image_cover(p->log, &image, size, size, &square);
    for (size_t i = 0; ok && i < (size_t)size * (size_t)size * 3; i++)
        rgb[i] = (float)square.pixels[i] / 127.5f - 1;
    if (ok && sizes) {
        sizes->original_height = image.height;
        sizes->original_width = image.width;
        at_image_cover_at(image.width, image.height, size, size, &sizes->left, &sizes->top);
    }
    at_image_finish(&image);
    at_image_finish(&square);
    return ok ? row->text : NULL;
}

const char *at_pictures_draw(struct at_pictures *p, uint64_t index, float *rgb, struct at_sizes *sizes)
{
    int size = p->source.size;
    if (sizes)
        *sizes = at_sizes_whole(size, size);
    if (!p->emoji)
        return draw_file(p, index, rgb, sizes);
    const struct at_emoji *e = at_emoji_sample(p->log, p->emoji, size, p->source.seed, index, rgb, NULL);
    for (size_t i = 0; e && i < (size_t)size * (size_t)size * 3; i++)
        rgb[i] = 2 * rgb[i] - 1;
    return e ? e->caption : NULL;
}
