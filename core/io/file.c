// SPDX-License-Identifier: Apache-2.0
#include "core/io/file.h"

#include "core/base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define BUFFER_BYTES 65536

// Says what failed and, for the usual reasons, what to do.
static bool fail_path(struct at_log *log, enum at_error kind, const char *what, const char *path, int reason)
{
    const char *advice = reason == ENOENT                       ? "; check the path"
                         : reason == ENOSPC || reason == EDQUOT ? "; free some space or write elsewhere"
                         : reason == EFBIG ? "; the file is too large for this file system or user limit"
                         : reason == EACCES || reason == EPERM || reason == EROFS ? "; check the permissions"
                                                                                  : "";
    return at_fail(log, kind, "%s: cannot %s: %s%s", path, what, strerror(reason), advice);
}

static int open_retry(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    return fd;
}

// Opens a regular file for reading and tells its size; -1 with the reason in the log.
static int open_regular(struct at_log *log, const char *path, size_t *size)
{
    struct stat st;
    int fd = open_retry(path, O_RDONLY | O_NONBLOCK); // a pipe must not make us wait
    if (fd < 0) {
        fail_path(log, AT_ERROR_INPUT, "open", path, errno);
        return -1;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < 0 || (uintmax_t)st.st_size > SIZE_MAX - 1) {
        at_fail(log, AT_ERROR_INPUT, "%s: not a regular file", path);
        close(fd);
        return -1;
    }
    *size = (size_t)st.st_size;
    return fd;
}

bool at_file_read(struct at_log *log, const char *path, size_t limit, uint8_t **data, size_t *size)
{
    size_t bytes, have = 0;
    *data = NULL;
    int fd = open_regular(log, path, &bytes);
    if (fd < 0)
        return false;
    uint8_t *block = NULL;
    if (bytes > limit) {
        at_fail(log, AT_ERROR_INPUT, "%s: %zu bytes, more than the %zu that are accepted here", path, bytes, limit);
        goto error;
    }
    block = at_calloc(bytes + 1, 1);
    if (!block) {
        at_fail_memory(log, bytes + 1);
        goto error;
    }
    while (have < bytes) {
        ssize_t n = read(fd, block + have, bytes - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            fail_path(log, AT_ERROR_INPUT, "read", path, errno);
            goto error;
        }
        if (n == 0)
            break; // it became shorter meanwhile
        have += (size_t)n;
    }
    close(fd);
    *data = block;
    *size = have;
    return true;
error:
    at_free(block);
    close(fd);
    return false;
}

bool at_file_map(struct at_log *log, const char *path, struct at_map *map)
{
    static const uint8_t nothing[1];
    *map = (struct at_map){nothing, 0};
    size_t size;
    int fd = open_regular(log, path, &size);
    if (fd < 0)
        return false;
    void *data = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    int reason = errno;
    close(fd);
    if (data == MAP_FAILED)
        return fail_path(log, AT_ERROR_INPUT, "map", path, reason);
    if (data)
        *map = (struct at_map){data, size};
    return true;
}

void at_file_map_pass(const struct at_map *map, const uint8_t *bytes, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = ((uintptr_t)bytes + page - 1) / page * page;
    uintptr_t end = (uintptr_t)(bytes + size) / page * page;
    if (map->size && begin < end)
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED); // advice: nothing hangs on it
}

void at_file_unmap(struct at_map *map)
{
    if (map->size)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (struct at_map){0};
}

struct at_file_writer {
    struct at_log *log;
    char *path, *temporary; // temporary is NULL when `path` is written directly
    int fd;
    bool failed, exists; // exists: there is a temporary file to remove
    size_t used;
    uint8_t buffer[BUFFER_BYTES];
};

struct at_file_writer *at_file_writer_create(struct at_log *log, const char *path)
{
    static atomic_uint serial;
    struct stat st;
    bool found = stat(path, &st) == 0;
    if (found && S_ISDIR(st.st_mode)) {
        at_fail(log, AT_ERROR_INPUT, "%s: is a folder; give the name of a file", path);
        return NULL;
    }
    struct at_file_writer *w = at_calloc(1, sizeof(*w));
    if (!w) {
        at_fail_memory(log, sizeof(*w));
        return NULL;
    }
    bool direct = found && !S_ISREG(st.st_mode);
    w->log = log;
    w->fd = -1;
    w->path = at_strdup(path);
    if (!direct)
        w->temporary = at_strf("%s.%ld-%u.tmp", path, (long)getpid(), atomic_fetch_add(&serial, 1));
    if (!w->path || (!direct && !w->temporary)) {
        at_fail_memory(log, strlen(path));
        goto error;
    }
    w->fd = direct ? open_retry(path, O_WRONLY) : open_retry(w->temporary, O_WRONLY | O_CREAT | O_TRUNC);
    if (w->fd < 0) {
        fail_path(log, AT_ERROR_FAILED, "write", path, errno);
        goto error;
    }
    w->exists = !direct;
    return w;
error:
    at_file_writer_destroy(&w);
    return NULL;
}

static bool write_all(struct at_file_writer *w, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(w->fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            w->failed = true;
            return fail_path(w->log, AT_ERROR_FAILED, "write", w->path, errno);
        }
        data += n;
        size -= (size_t)n;
    }
    return true;
}

bool at_file_writer_put(struct at_file_writer *w, const void *data, size_t size)
{
    if (w->failed || w->fd < 0)
        return false;
    if (size > BUFFER_BYTES - w->used) {
        size_t used = w->used;
        w->used = 0;
        if (!write_all(w, w->buffer, used))
            return false;
        if (size >= BUFFER_BYTES)
            return write_all(w, data, size);
    }
    if (size)
        memcpy(w->buffer + w->used, data, size);
    w->used += size;
    return true;
}

static bool sync_dir(struct at_log *log, const char *dir)
{
    int fd = open_retry(dir, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return fail_path(log, AT_ERROR_FAILED, "open", dir, errno);
    bool ok = fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP; // some network file systems have no such thing
    int reason = errno;
    close(fd);
    return ok || fail_path(log, AT_ERROR_FAILED, "sync", dir, reason);
}

static bool sync_dir_of(struct at_log *log, const char *path)
{
    char *dir = at_path_dir(path);
    if (!dir)
        return at_fail_memory(log, strlen(path));
    bool ok = sync_dir(log, dir);
    at_free(dir);
    return ok;
}

bool at_file_writer_commit(struct at_file_writer *w)
{
    if (w->failed || w->fd < 0 || !write_all(w, w->buffer, w->used))
        return false;
    w->used = 0;
    bool ok = !w->temporary || fsync(w->fd) == 0;
    int reason = errno;
    if (close(w->fd) != 0 && ok) {
        ok = false;
        reason = errno;
    }
    w->fd = -1;
    if (!ok)
        return fail_path(w->log, AT_ERROR_FAILED, "write", w->path, reason);
    if (!w->temporary)
        return true;
    if (rename(w->temporary, w->path) != 0)
        return fail_path(w->log, AT_ERROR_FAILED, "replace", w->path, errno);
    w->exists = false;
    return sync_dir_of(w->log, w->path);
}

void at_file_writer_destroy(struct at_file_writer **writer)
{
    struct at_file_writer *w = *writer;
    if (!w)
        return;
    if (w->fd >= 0)
        close(w->fd);
    if (w->exists)
        unlink(w->temporary);
    at_free(w->path);
    at_free(w->temporary);
    at_free(w);
    *writer = NULL;
}

bool at_file_replace(struct at_log *log, const char *path, const void *data, size_t size)
{
    struct at_file_writer *w = at_file_writer_create(log, path);
    bool ok = w && at_file_writer_put(w, data, size) && at_file_writer_commit(w);
    at_file_writer_destroy(&w);
    return ok;
}

bool at_file_copy(struct at_log *log, const char *from, const char *path)
{
    struct at_map map = {0};
    bool ok = at_file_map(log, from, &map) && at_file_replace(log, path, map.data, map.size);
    at_file_unmap(&map);
    return ok;
}

uint64_t at_dir_free(const char *path)
{
    struct statvfs fs;
    return statvfs(path, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
}

bool at_file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}
