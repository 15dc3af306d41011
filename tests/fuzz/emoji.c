// SPDX-License-Identifier: Apache-2.0
// Unicode's table of emoji.
#include "datasets/emoji_table.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"emoji-test.txt"};
    struct at_log log = {.write = at_log_drop};
    struct at_arena *arena = at_arena_create();
    struct at_emoji *items = NULL;
    size_t count = 0;
    fuzz_files(data, size, names, 1);
    char *path = at_path_join(fuzz_folder(), names[0]);
    if (!arena || !path)
        abort();
    bool ok = at_emoji_table_read(&log, path, arena, &items, &count);
    if (ok != (log.error == AT_ERROR_NONE) || (ok && !count))
        abort(); // a failure without a word, or the other way round
    for (size_t i = 0; i < count; i++)
        if (!items[i].text[0] || !items[i].name[0] || !items[i].group || !items[i].subgroup || items[i].words < 0 ||
            strlen(items[i].caption) > strlen(items[i].name))
            abort();
    at_free(items);
    at_free(path);
    at_arena_destroy(&arena);
    return 0;
}
