// SPDX-License-Identifier: Apache-2.0
// Files and folders. What is written appears whole or not at all: a temporary name beside it, fsync, rename, fsync of
// the folder.
//
//     struct at_file_writer *w = at_file_writer_create(log, "run/metrics.json");
//     bool ok = w && at_file_writer_put(w, text, strlen(text)) && at_file_writer_commit(w);
//     at_file_writer_destroy(&w); // without a commit nothing is left behind
#ifndef CORE_IO_FILE_H
#define CORE_IO_FILE_H

#include "core/base/log.h"

#include <stdint.h>

// Reads a whole file into fresh memory; a NUL that *size does not count follows it. Longer than `limit` bytes is an
// error. The caller frees *data with at_free.
AT_NODISCARD bool at_file_read(struct at_log *log, const char *path, size_t limit, uint8_t **data, size_t *size);

// A file in memory, read-only. An empty file has size 0 and a valid pointer. Whoever truncates the file meanwhile ends
// the program with SIGBUS: written files are replaced here, never changed in place.
struct at_map {
    const uint8_t *data;
    size_t size;
};
AT_NODISCARD bool at_file_map(struct at_log *log, const char *path, struct at_map *map);
// Bytes of the map that will not be read again soon leave the process's memory; they are read anew if they are.
void at_file_map_pass(const struct at_map *map, const uint8_t *bytes, size_t size);
void at_file_unmap(struct at_map *map); // a zeroed map is fine

struct at_file_writer;
// Opens a temporary file beside `path`; the folder must exist. A device or pipe (say /dev/null) is written directly.
struct at_file_writer *at_file_writer_create(struct at_log *log, const char *path);
// After a failed put every later put and the commit fail too.
AT_NODISCARD bool at_file_writer_put(struct at_file_writer *writer, const void *data, size_t size);
// Makes the content durable and gives it its name, replacing an older file of that name.
AT_NODISCARD bool at_file_writer_commit(struct at_file_writer *writer);
// Removes the temporary file unless it was committed; sets *writer to NULL. A pointer to NULL is fine.
void at_file_writer_destroy(struct at_file_writer **writer);
// All of it in one call.
AT_NODISCARD bool at_file_replace(struct at_log *log, const char *path, const void *data, size_t size);
// A file's bytes under another name, mapped, not held.
AT_NODISCARD bool at_file_copy(struct at_log *log, const char *from, const char *path);

bool at_file_exists(const char *path); // a regular file, device or pipe
// Bytes that a new file in this existing folder may take; UINT64_MAX if that cannot be told.
uint64_t at_dir_free(const char *path);
bool at_dir_exists(const char *path);
// Makes a folder and the missing ones above it; one that exists is fine.
AT_NODISCARD bool at_dir_make(struct at_log *log, const char *path);
// Whether `path` is a folder that files can be made in, or could be made as one: asked before long work.
AT_NODISCARD bool at_dir_writable(struct at_log *log, const char *path);
// Removes a file or a folder with all it holds; symbolic links are removed, not followed. Missing is fine.
AT_NODISCARD bool at_path_remove(struct at_log *log, const char *path);
// Names in a folder (without . and ..), sorted by bytes. The caller frees the names and the array with
// at_names_free.
AT_NODISCARD bool at_dir_list(struct at_log *log, const char *path, char ***names, size_t *count);
void at_names_free(char ***names, size_t count);

// Replacing a folder whole: begin makes an empty `path`.tmp (removing a left-over one) and returns its name, to be
// filled and freed with at_free; commit syncs all in it and renames it to `path`. An older `path` is swapped out in one
// step where the file system can do that (else there is a moment with only `path`.old), then removed.
char *at_dir_replace_begin(struct at_log *log, const char *path);
AT_NODISCARD bool at_dir_replace_commit(struct at_log *log, const char *path);

// Fresh strings, NULL when out of memory. join: `name` alone if it is absolute or `dir` is "" or ".".
char *at_path_join(const char *dir, const char *name);
// The folder part ("." if there is none).
char *at_path_dir(const char *path);
// The part after the last slash, inside `path`.
const char *at_path_name(const char *path);

#endif
