// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/image.h"
#include "core/io/json.h"
#include "datasets/emoji.h"
#include "datasets/imagefolder.h"

#include <stdio.h>
#include <string.h>

static void to_bytes(const float *rgb, struct at_image *image)
{
    size_t n = (size_t)image->width * (size_t)image->height * 3;
    for (size_t i = 0; i < n; i++)
        image->pixels[i] = (uint8_t)(rgb[i] * 255.0f + 0.5f);
}

// Into `dir`, the temporary name of p->dir.
static bool write_pictures(struct at_log *log, const struct at_emoji_set *set, const struct at_emoji_export *p,
                           const char *dir, float *rgb, struct at_image *image)
{
    struct at_imagefolder_writer *writer = at_imagefolder_create(log, dir);
    bool ok = writer != NULL;
    for (size_t i = 0; ok && i < p->count; i++) {
        const struct at_emoji *item = at_emoji_sample(log, set, p->size, p->seed, i, rgb, NULL);
        char name[32];
        snprintf(name, sizeof(name), "%06zu.png", i);
        if (item)
            to_bytes(rgb, image);
        ok = item && at_imagefolder_add(writer, name, image, item->caption);
        if (ok && p->progress && !p->progress(p->priv, (double)(i + 1) / (double)p->count))
            ok = at_fail(log, AT_ERROR_INTERRUPTED, "making the pictures was interrupted; nothing is left of it");
    }
    ok = ok && at_imagefolder_commit(writer);
    at_imagefolder_destroy(&writer);
    return ok;
}

static bool write_names(struct at_log *log, const struct at_emoji_set *set, const struct at_emoji_export *p,
                        const char *dir)
{
    struct at_json_doc *doc = at_json_create(log, false);
    if (!doc)
        return false;
    struct at_json root = at_json_root(doc);
    at_json_put_int(root, "count", (int64_t)p->count);
    at_json_put_int(root, "size", p->size);
    at_json_put_int(root, "seed", (int64_t)p->seed);
    struct at_json lists[2] = {at_json_put_array(root, "train"), at_json_put_array(root, "held_out")};
    for (size_t i = 0; i < set->count; i++)
        at_json_put_str(lists[set->items[i].held_out], NULL, set->items[i].caption);
    char *path = at_path_join(dir, "names.json");
    bool ok = path ? at_json_save(doc, path, true) : at_fail_memory(log, strlen(dir));
    at_free(path);
    at_json_destroy(&doc);
    return ok;
}

static bool folder_is_free(struct at_log *log, const char *path)
{
    char **names = NULL;
    size_t count = 0;
    if (!at_dir_exists(path))
        return at_dir_writable(log, path);
    if (!at_dir_list(log, path, &names, &count))
        return false;
    at_names_free(&names, count);
    return count == 0 || at_fail(log, AT_ERROR_INPUT, "%s: the folder is not empty; name a new one, or empty it first",
                                 path);
}

bool at_emoji_export(struct at_log *log, const struct at_emoji_set *set, const struct at_emoji_export *params)
{
    if (params->size < 8 || params->size > 1024)
        return at_fail(log, AT_ERROR_USAGE, "size %d: use 8 .. 1024 pixels", params->size);
    if (params->count == 0 || params->count > 1000000)
        return at_fail(log, AT_ERROR_USAGE, "count %zu: use 1 .. 1000000 pictures", params->count);
    if (!folder_is_free(log, params->dir))
        return false;
    struct at_image image = {0};
    char *dir = NULL;
    size_t n = (size_t)params->size * (size_t)params->size * 3;
    float *rgb = at_calloc(n, sizeof(*rgb));
    bool ok = rgb ? at_image_init(log, &image, params->size, params->size, 3) : at_fail_memory(log, n * sizeof(*rgb));
    ok = ok && (dir = at_dir_replace_begin(log, params->dir)) &&
         write_pictures(log, set, params, dir, rgb, &image) && write_names(log, set, params, dir) &&
         at_dir_replace_commit(log, params->dir);
    if (!ok && dir && !at_path_remove(NULL, dir))
        at_warn(log, "%s is left over; remove it", dir);
    at_free(dir);
    at_image_finish(&image);
    at_free(rgb);
    return ok;
}
