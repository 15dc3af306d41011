// SPDX-License-Identifier: Apache-2.0
// Folders of pictures: with metadata.jsonl, and with pairs in w/ and l/. The input: its files, divided by the byte 0x1e.
#include "datasets/imagefolder.h"
#include "datasets/pairs.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"

static void read_captions(const char *dir)
{
    struct at_log log = {.write = at_log_drop};
    struct at_imagefolder folder;
    bool ok = at_imagefolder_read(&log, dir, &(struct at_imagefolder_params){0}, &folder);
    if (ok != (log.error == AT_ERROR_NONE) || ok != (folder.count > 0))
        abort(); // a failure without a word, or the other way round
    for (size_t i = 0; i < folder.count; i++)
        if (!at_file_exists(folder.rows[i].path) || !folder.rows[i].text[0] || !folder.rows[i].line)
            abort();
    at_imagefolder_finish(&folder);
}

static void read_pairs(const char *dir)
{
    struct at_log log = {.write = at_log_drop};
    struct at_image win, lose;
    struct at_pairs pairs;
    bool ok = at_pairs_read(&log, dir, &(struct at_pairs_params){0}, &pairs);
    if (ok != (log.error == AT_ERROR_NONE) || ok != (pairs.count > 0))
        abort();
    for (size_t i = 0; i < pairs.count; i++) {
        if (!pairs.items[i].prompt[0] || !at_pair_load(NULL, &pairs.items[i], 8, &win, &lose))
            abort(); // accepted, and does not open
        at_image_finish(&win);
        at_image_finish(&lose);
    }
    at_pairs_finish(&pairs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"metadata.jsonl", "w/a.txt", "w/a.png", "l/a.png"};
    fuzz_files(data, size, names, 4);
    read_captions(fuzz_folder());
    read_pairs(fuzz_folder());
    return 0;
}
