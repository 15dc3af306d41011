// SPDX-License-Identifier: Apache-2.0
#include "datasets/imagefolder.h"

#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/io/file.h"
#include "core/io/image.h"
#include "datasets/rows.h"

#include <stdlib.h>
#include <string.h>

#define METADATA "metadata.jsonl"

void at_imagefolder_finish(struct at_imagefolder *folder)
{
    at_free(folder->rows);
    at_arena_destroy(&folder->strings);
    *folder = (struct at_imagefolder){0};
}

// Whether a relative path leaves the folder.
static bool leaves(const char *name)
{
    for (const char *p = name; p; p = strchr(p, '/')) {
        p += p != name || *p == '/';
        if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == 0))
            return true;
    }
    return name[0] == '/';
}

static bool picture_is_good(struct at_rows *rows, const char *path, bool decode)
{
    struct at_image image = {0};
    if (!at_file_exists(path)) {
        at_rows_problem(rows, "file_name", "no such file: %s; add the picture or delete the row", path);
        return false;
    }
    if (decode && !at_image_read(at_problems_log(&rows->problems), path, 3, &image)) {
        at_rows_problem(rows, "file_name", "%s does not decode; replace the picture or delete the row", path);
        return false;
    }
    at_image_finish(&image);
    return true;
}

static bool read_row(struct at_rows *rows, struct at_json row, const char *dir, bool decode,
                     struct at_imagefolder *folder)
{
    const char *name = at_rows_text(rows, row, "file_name"), *text = at_rows_text(rows, row, "text");
    if (!name || !text)
        return true;
    if (leaves(name)) {
        at_rows_problem(rows, "file_name", "\"%s\" lies outside the folder; move the picture into it", name);
        return true;
    }
    struct at_imagefolder_row r = {.path = at_arena_strf(folder->strings, "%s/%s", dir, name),
                                   .text = at_arena_strf(folder->strings, "%s", text),
                                   .line = rows->line};
    if (!r.path || !r.text ||
        !at_grow((void **)&folder->rows, &folder->capacity, folder->count + 1, sizeof(*folder->rows)))
        return at_fail_memory(rows->problems.log, (folder->count + 1) * sizeof(r));
    if (picture_is_good(rows, r.path, decode))
        folder->rows[folder->count++] = r;
    return true;
}

static int by_path(const void *a, const void *b)
{
    const struct at_imagefolder_row *const *x = a, *const *y = b;
    int order = strcmp((*x)->path, (*y)->path);
    return order ? order : (*x)->line < (*y)->line ? -1 : 1;
}

// Two rows for one file: perhaps two captions of one picture, more often a mistake; so it is told, not refused.
static bool warn_of_doubles(struct at_log *log, const struct at_imagefolder *folder)
{
    const struct at_imagefolder_row **order = at_calloc(folder->count, sizeof(const struct at_imagefolder_row *));
    if (!order)
        return at_fail_memory(log, folder->count * sizeof(*order));
    for (size_t i = 0; i < folder->count; i++)
        order[i] = &folder->rows[i];
    qsort(order, folder->count, sizeof(*order), by_path);
    size_t shown = 0;
    for (size_t i = 1; i < folder->count && shown < AT_PROBLEMS_SHOWN; i++)
        if (strcmp(order[i]->path, order[i - 1]->path) == 0 && ++shown)
            at_warn(log, "%s: named in line %zu and again in line %zu of " METADATA, order[i]->path, order[i - 1]->line,
                    order[i]->line);
    at_free(order);
    return true;
}

bool at_imagefolder_read(struct at_log *log, const char *dir, const struct at_imagefolder_params *params,
                         struct at_imagefolder *folder)
{
    *folder = (struct at_imagefolder){.strings = at_arena_create()};
    char *path = at_path_join(dir, METADATA);
    struct at_rows rows;
    bool ok = path && folder->strings;
    if (!ok)
        (void)at_fail_memory(log, sizeof(*folder));
    else if (!at_file_exists(path))
        ok = at_fail(log, AT_ERROR_INPUT,
                     "%s: no such file; a data folder needs one, with a line {\"file_name\", "
                     "\"text\"} for each picture",
                     path);
    ok = ok && at_rows_open(log, path, &rows);
    if (ok) {
        struct at_json row;
        while (ok && at_rows_next(&rows, &row))
            ok = read_row(&rows, row, dir, !params->skip_images, folder);
        if (ok && folder->count == 0 && rows.problems.count == 0)
            at_problem(&rows.problems, "%s: no row in it; write one {\"file_name\", \"text\"} a line", path);
        ok = at_rows_close(&rows) && ok;
    }
    ok = ok && warn_of_doubles(log, folder);
    at_free(path);
    if (!ok)
        at_imagefolder_finish(folder);
    return ok;
}

struct at_imagefolder_writer {
    struct at_log *log;
    char *dir;
    struct at_file_writer *metadata;
};

static bool is_empty(struct at_log *log, const char *dir)
{
    char **names = NULL;
    size_t count = 0;
    bool listed = at_dir_list(log, dir, &names, &count);
    at_names_free(&names, count);
    if (listed && count > 0)
        return at_fail(log, AT_ERROR_INPUT, "%s: the folder is not empty; name a new one, or empty it first", dir);
    return listed;
}

struct at_imagefolder_writer *at_imagefolder_create(struct at_log *log, const char *dir)
{
    struct at_imagefolder_writer *w = at_calloc(1, sizeof(*w));
    char *path = at_path_join(dir, METADATA);
    if (!w || !path || !(w->dir = at_strdup(dir))) {
        (void)at_fail_memory(log, sizeof(*w));
        goto error;
    }
    w->log = log;
    if (!at_dir_make(log, dir) || !is_empty(log, dir))
        goto error;
    w->metadata = at_file_writer_create(log, path);
    if (!w->metadata)
        goto error;
    at_free(path);
    return w;
error:
    at_free(path);
    at_imagefolder_destroy(&w);
    return NULL;
}

bool at_imagefolder_add(struct at_imagefolder_writer *w, const char *name, const struct at_image *image,
                        const char *text)
{
    char *path = at_path_join(w->dir, name);
    bool ok = path ? at_png_write(w->log, path, image, NULL, 0) : at_fail_memory(w->log, strlen(name));
    at_free(path);
    struct at_json_doc *doc = ok ? at_json_create(w->log, false) : NULL;
    if (!doc)
        return false;
    at_json_put_str(at_json_root(doc), "file_name", name);
    at_json_put_str(at_json_root(doc), "text", text);
    char *line = at_json_text(doc, false);
    ok = line && at_file_writer_put(w->metadata, line, strlen(line)) && at_file_writer_put(w->metadata, "\n", 1);
    at_free(line);
    at_json_destroy(&doc);
    return ok;
}

bool at_imagefolder_commit(struct at_imagefolder_writer *w)
{
    return at_file_writer_commit(w->metadata);
}

void at_imagefolder_destroy(struct at_imagefolder_writer **writer)
{
    if (!*writer)
        return;
    at_file_writer_destroy(&(*writer)->metadata);
    at_free((*writer)->dir);
    at_free(*writer);
    *writer = NULL;
}
