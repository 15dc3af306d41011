// SPDX-License-Identifier: Apache-2.0
// A folder of pictures with metadata.jsonl beside them, one {"file_name": "a.png", "text": "a caption"} a line: the
// form that the Hugging Face libraries call imagefolder.
#ifndef DATASETS_IMAGEFOLDER_H
#define DATASETS_IMAGEFOLDER_H

#include "core/base/log.h"

#include <stdbool.h>
#include <stddef.h>

struct at_image;

struct at_imagefolder_row {
    const char *path; // opens from here
    const char *text; // the caption
    size_t line;      // in metadata.jsonl
};

struct at_imagefolder {
    size_t count, capacity;
    struct at_imagefolder_row *rows;
    struct at_arena *strings;
};

struct at_imagefolder_params {
    bool skip_images; // check only the rows and that the files are there: do not decode them
};

// Reads DIR/metadata.jsonl and checks every row: fields, files that are missing, lie outside the folder or do not
// decode, files named twice, no row at all. All problems are named, up to 20. On failure *folder is empty; else it is
// freed by at_imagefolder_finish.
AT_NODISCARD bool at_imagefolder_read(struct at_log *log, const char *dir, const struct at_imagefolder_params *params,
                                      struct at_imagefolder *folder);
void at_imagefolder_finish(struct at_imagefolder *folder); // a zeroed one is fine

// Writing: the folder is made, and must be empty if it is there. metadata.jsonl comes last, by commit, so that a folder
// that has one is whole.
struct at_imagefolder_writer;
struct at_imagefolder_writer *at_imagefolder_create(struct at_log *log, const char *dir);
// Writes the picture as PNG and notes its caption. `name` is the file's, such as "000001.png".
AT_NODISCARD bool at_imagefolder_add(struct at_imagefolder_writer *writer, const char *name,
                                     const struct at_image *image, const char *text);
AT_NODISCARD bool at_imagefolder_commit(struct at_imagefolder_writer *writer);
// Sets *writer to NULL; a pointer to NULL is fine.
void at_imagefolder_destroy(struct at_imagefolder_writer **writer);

#endif
