// SPDX-License-Identifier: Apache-2.0
// Runs every file of a corpus folder through one fuzz target, as an ordinary test: replay CORPUS
#include "core/base/alloc.h"
#include "core/io/file.h"
#include "tests/fuzz/target.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    char **names;
    size_t count;
    if (argc != 2 || !at_dir_list(NULL, argv[1], &names, &count) || count == 0) {
        printf("usage: %s CORPUS, a folder with files\n", argv[0]);
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        uint8_t *data;
        size_t size;
        char *path = at_path_join(argv[1], names[i]);
        if (!path || !at_file_read(NULL, path, (size_t)1 << 26, &data, &size)) {
            printf("cannot read %s\n", names[i]);
            return 1;
        }
        printf("%s\n", names[i]);
        fflush(stdout); // so that the last name printed is the one that crashed
        LLVMFuzzerTestOneInput(data, size);
        at_free(data);
        at_free(path);
    }
    at_names_free(&names, count);
    return 0;
}
