// SPDX-License-Identifier: Apache-2.0
// For targets of readers that open files: parts of the input become the files of a folder, which vanishes at exit.
#ifndef TESTS_FUZZ_SCRATCH_H
#define TESTS_FUZZ_SCRATCH_H

#include "core/base/alloc.h"
#include "core/io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char fuzz_root[64];

static inline void fuzz_remove(void)
{
    if (!at_path_remove(NULL, fuzz_root))
        fprintf(stderr, "%s: could not be removed\n", fuzz_root);
}

// The folder, in memory where there is such a place.
static inline const char *fuzz_folder(void)
{
    if (fuzz_root[0])
        return fuzz_root;
    snprintf(fuzz_root, sizeof(fuzz_root), "%s/attune-fuzz-XXXXXX", at_dir_exists("/dev/shm") ? "/dev/shm" : "/tmp");
    if (!mkdtemp(fuzz_root) || atexit(fuzz_remove) != 0)
        abort();
    return fuzz_root;
}

// A file of the folder, and the folders above it; none if there is nothing to write.
static inline void fuzz_file(const char *name, const void *data, size_t size)
{
    char *path = at_path_join(fuzz_folder(), name), *dir = path ? at_path_dir(path) : NULL;
    if (!dir || !at_dir_make(NULL, dir))
        abort();
    FILE *f = size ? fopen(path, "wb") : NULL;
    if (!size)
        remove(path);
    else if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
    at_free(path);
    at_free(dir);
}

// Parts divided by the byte 0x1e, one a name; the last one takes what is left.
static inline void fuzz_files(const uint8_t *data, size_t size, const char *const *names, size_t count)
{
    const uint8_t *p = data, *end = data + size;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *stop = i + 1 < count && p < end ? memchr(p, 0x1e, (size_t)(end - p)) : NULL;
        fuzz_file(names[i], p, (size_t)((stop ? stop : end) - p));
        p = stop ? stop + 1 : end;
    }
}

#endif
