// SPDX-License-Identifier: Apache-2.0
// The files of a CLIP tokenizer: where they are, and how they are kept.
#include "core/text/clip_tokenizer.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/gzip.h"

#include <string.h>

enum { FILE_LIMIT = 64 << 20 };

// An absent file is fine; one that cannot be read is not.
static bool read_optional(struct at_log *log, const char *dir, const char *name, struct at_clip_file *file)
{
    char *path = at_path_join(dir, name);
    uint8_t *data = NULL;
    bool ok = path && (!at_file_exists(path) || at_file_read(log, path, FILE_LIMIT, &data, &file->bytes));
    if (!path)
        at_fail_memory(log, strlen(name));
    at_free(path);
    file->data = (const char *)data;
    return ok;
}

struct at_clip_tokenizer *at_clip_tokenizer_load(const char *dir, struct at_log *log)
{
    struct at_clip_files files = {.name = dir};
    struct at_clip_tokenizer *t = NULL;
    struct {
        const char *name;
        struct at_clip_file *file;
    } all[] = {{"vocab.json", &files.vocab},
               {"merges.txt", &files.merges},
               {"tokenizer.json", &files.tokenizer},
               {"tokenizer_config.json", &files.config},
               {"special_tokens_map.json", &files.specials}};
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof(all) / sizeof(all[0]); i++)
        ok = read_optional(log, dir, all[i].name, all[i].file);
    if (ok)
        t = at_clip_tokenizer_create_from_memory(&files, log);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        at_free((void *)(uintptr_t)all[i].file->data);
    return t;
}

// bpe_simple_vocab_16e6.txt.gz unpacked, anything else as it is.
static bool unpack(struct at_log *log, const char *path, struct at_clip_file *file)
{
    uint8_t *plain;
    size_t bytes;
    if (!file->data || !at_gzip_is(file->data, file->bytes))
        return true;
    if (!at_gzip_unpack(log, path, file->data, file->bytes, FILE_LIMIT, &plain, &bytes))
        return false;
    at_free((void *)(uintptr_t)file->data);
    *file = (struct at_clip_file){(const char *)plain, bytes};
    return true;
}

static bool read_file(struct at_log *log, const char *path, struct at_clip_files *files)
{
    uint8_t *data = NULL;
    struct at_clip_file file = {0};
    if (!at_file_read(log, path, FILE_LIMIT, &data, &file.bytes))
        return false;
    file.data = (const char *)data;
    bool ok = unpack(log, path, &file);
    *(file.data[0] == '{' ? &files->tokenizer : &files->merges) = file;
    return ok;
}

static bool read_folder(struct at_log *log, const char *dir, struct at_clip_files *files)
{
    static const char *const lists[] = {"merges.txt", "bpe_simple_vocab_16e6.txt", "bpe_simple_vocab_16e6.txt.gz"};
    bool ok = read_optional(log, dir, "vocab.json", &files->vocab) &&
              read_optional(log, dir, "tokenizer.json", &files->tokenizer);
    for (size_t i = 0; ok && !files->merges.data && i < sizeof(lists) / sizeof(*lists); i++)
        ok = read_optional(log, dir, lists[i], &files->merges) && unpack(log, lists[i], &files->merges);
    return ok;
}

struct at_clip_tokenizer *at_clip_tokenizer_load_clip(const char *path, const char *pad, struct at_log *log)
{
    // As CLIP's own folders spell them.
    char *specials = at_strf("{\"bos_token\": {\"content\": \"<|startoftext|>\", \"normalized\": true}, "
                             "\"eos_token\": {\"content\": \"<|endoftext|>\", \"normalized\": true}, "
                             "\"unk_token\": {\"content\": \"<|endoftext|>\", \"normalized\": true}, "
                             "\"pad_token\": \"%s\"}", pad);
    struct at_clip_files files = {.name = path, .clip = true};
    struct at_clip_tokenizer *t = NULL;
    bool ok = specials || at_fail_memory(log, strlen(path));
    ok = ok && (at_dir_exists(path) ? read_folder(log, path, &files) : read_file(log, path, &files));
    if (ok && !files.merges.data && !files.tokenizer.data) {
        at_fail(log, AT_ERROR_INPUT, "%s: holds no tokenizer; expected vocab.json and merges.txt, merges.txt alone, or "
                "bpe_simple_vocab_16e6.txt.gz", path);
    } else if (ok) {
        files.specials = (struct at_clip_file){specials, strlen(specials)};
        t = at_clip_tokenizer_create_from_memory(&files, log);
    }
    at_free(specials);
    at_free((void *)(uintptr_t)files.vocab.data);
    at_free((void *)(uintptr_t)files.merges.data);
    at_free((void *)(uintptr_t)files.tokenizer.data);
    return t;
}
