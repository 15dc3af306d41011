// SPDX-License-Identifier: Apache-2.0
// Folders and paths: the second half of core/io/file.h.
#include "core/io/file.h"

#include "core/base/alloc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DEPTH 64 // of folders inside each other

static bool fail_path(struct at_log *log, const char *what, const char *path)
{
    const char *advice = errno == ENOSPC || errno == EDQUOT ? "; free some space or write elsewhere"
                         : errno == EACCES || errno == EPERM || errno == EROFS ? "; check the permissions"
                                                                               : "";
    return at_fail(log, AT_ERROR_FAILED, "%s: cannot %s: %s%s", path, what, strerror(errno), advice);
}

static bool fail_make(struct at_log *log, const char *path)
{
    if (errno == EEXIST || errno == ENOTDIR)
        return at_fail(log, AT_ERROR_INPUT, "%s: is a file; name a folder", path);
    return fail_path(log, "make the folder", path);
}

bool at_dir_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool at_dir_make(struct at_log *log, const char *path)
{
    char *part = at_strdup(path);
    if (!part)
        return at_fail_memory(log, strlen(path));
    bool ok = true;
    for (char *p = part; ok && *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        char end = *p;
        *p = '\0';
        ok = mkdir(part, 0777) == 0 || at_dir_exists(part) || fail_make(log, part);
        *p = end;
    }
    at_free(part);
    return ok;
}

bool at_dir_writable(struct at_log *log, const char *path)
{
    char *dir = at_strdup(path);
    while (dir && !at_dir_exists(dir) && !at_file_exists(dir)) {
        char *above = at_path_dir(dir);
        at_free(dir);
        dir = above;
    }
    if (!dir)
        return at_fail_memory(log, strlen(path));
    bool ok = at_dir_exists(dir) || at_fail(log, AT_ERROR_INPUT, "%s: is a file; name a folder", dir);
    ok = ok && (access(dir, W_OK | X_OK) == 0 || fail_path(log, "write in the folder", dir));
    at_free(dir);
    return ok;
}

void at_names_free(char ***names, size_t count)
{
    for (size_t i = 0; *names && i < count; i++)
        at_free((*names)[i]);
    at_free(*names);
    *names = NULL;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool at_dir_list(struct at_log *log, const char *path, char ***names, size_t *count)
{
    void *items = NULL;
    size_t n = 0, capacity = 0;
    bool ok = true;
    *names = NULL;
    *count = 0;
    DIR *dir = opendir(path);
    if (!dir)
        return at_fail(log, AT_ERROR_INPUT, "%s: cannot open the folder: %s; check the path", path, strerror(errno));
    for (struct dirent *entry; ok && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *name = at_strdup(entry->d_name);
        ok = name && at_grow(&items, &capacity, n + 1, sizeof(char *));
        if (ok)
            ((char **)items)[n++] = name;
        else
            at_free(name);
    }
    closedir(dir);
    *names = items;
    if (!ok) {
        at_names_free(names, n);
        return at_fail_memory(log, (n + 1) * sizeof(char *));
    }
    if (n)
        qsort(items, n, sizeof(char *), by_bytes);
    *count = n;
    return true;
}

// Calls visit on everything below `path`, deepest first, then on `path` itself. Links are not followed.
static bool walk(struct at_log *log, const char *path, int depth,
                 bool (*visit)(struct at_log *log, const char *path, bool is_dir))
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT || fail_path(log, "look at", path);
    if (!S_ISDIR(st.st_mode))
        return visit(log, path, false);
    if (depth >= MAX_DEPTH)
        return at_fail(log, AT_ERROR_INPUT, "%s: folders nested more than %d deep", path, MAX_DEPTH);
    char **names;
    size_t count;
    if (!at_dir_list(log, path, &names, &count))
        return false;
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        char *child = at_path_join(path, names[i]);
        ok = child ? walk(log, child, depth + 1, visit) : at_fail_memory(log, strlen(path));
        at_free(child);
    }
    at_names_free(&names, count);
    return ok && visit(log, path, true);
}

static bool remove_one(struct at_log *log, const char *path, bool is_dir)
{
    int result = is_dir ? rmdir(path) : unlink(path);
    return result == 0 || errno == ENOENT || fail_path(log, "remove", path);
}

static bool sync_one(struct at_log *log, const char *path, bool is_dir)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | (is_dir ? O_DIRECTORY : 0));
    if (fd < 0)
        return errno == ELOOP || fail_path(log, "open", path); // ELOOP: a symbolic link
    bool ok = fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP || fail_path(log, "sync", path);
    close(fd);
    return ok;
}

bool at_path_remove(struct at_log *log, const char *path)
{
    return walk(log, path, 0, remove_one);
}

// `path` without slashes at its end, plus an ending.
static char *with_ending(const char *path, const char *ending)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return at_strf("%.*s%s", (int)n, path, ending);
}

char *at_dir_replace_begin(struct at_log *log, const char *path)
{
    char *temporary = with_ending(path, ".tmp");
    if (!temporary) {
        at_fail_memory(log, strlen(path));
        return NULL;
    }
    if (at_path_remove(log, temporary) && at_dir_make(log, temporary))
        return temporary;
    at_free(temporary);
    return NULL;
}

static bool swap_in(struct at_log *log, const char *temporary, const char *path, const char *old)
{
    if (rename(temporary, path) == 0)
        return true;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return fail_path(log, "replace", path);
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_EXCHANGE) == 0)
        return at_path_remove(log, temporary); // now the old folder
    if (!at_path_remove(log, old))
        return false;
    if (rename(path, old) != 0)
        return fail_path(log, "replace", path);
    if (rename(temporary, path) != 0) {
        fail_path(log, "replace", path);
        if (rename(old, path) != 0)
            at_fail(log, AT_ERROR_FAILED, "%s: the old folder is now %s", path, old);
        return false;
    }
    return at_path_remove(log, old);
}

bool at_dir_replace_commit(struct at_log *log, const char *path)
{
    char *temporary = with_ending(path, ".tmp"), *old = with_ending(path, ".old"), *plain = with_ending(path, "");
    char *parent = plain ? at_path_dir(plain) : NULL;
    bool ok = temporary && old && parent;
    if (!ok)
        at_fail_memory(log, strlen(path));
    ok = ok && walk(log, temporary, 0, sync_one) && swap_in(log, temporary, plain, old) && sync_one(log, parent, true);
    at_free(temporary);
    at_free(old);
    at_free(plain);
    at_free(parent);
    return ok;
}

char *at_path_join(const char *dir, const char *name)
{
    if (name[0] == '/' || dir[0] == '\0' || strcmp(dir, ".") == 0)
        return at_strdup(name);
    return at_strf("%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name);
}

char *at_path_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return at_strdup(".");
    return at_strf("%.*s", slash == path ? 1 : (int)(slash - path), path);
}

const char *at_path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
