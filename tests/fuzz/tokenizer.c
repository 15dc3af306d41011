// SPDX-License-Identifier: Apache-2.0
// The CLIP tokenizer: files and text from untrusted bytes. First byte 'T': the rest is text for a small built-in
// vocabulary. Else: vocab, merges, config, special tokens, text, divided by the byte 0x1e; 'J' takes the first as
// tokenizer.json.
#include "core/text/clip_tokenizer.h"
#include "tests/fuzz/target.h"

#include <stdlib.h>
#include <string.h>

static void quiet(void *priv, enum at_level level, const char *text)
{
    (void)priv;
    (void)level;
    (void)text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char vocab[] = "{\"a\":0,\"b</w>\":1,\"ab</w>\":2,\"!\":3,\"<|startoftext|>\":4,\"<|endoftext|>\":5}";
    static const char merges[] = "#version: 0.2\na b</w>\n";
    struct at_log log = {.write = quiet};
    struct at_clip_file part[5] = {{vocab, sizeof(vocab) - 1}, {merges, sizeof(merges) - 1}};
    const char *p = (const char *)data + 1, *end = (const char *)data + size;
    if (size == 0)
        return 0;
    for (int i = data[0] == 'T' ? 4 : 0; i < 5; i++) {
        const char *stop = i < 4 ? memchr(p, 0x1e, (size_t)(end - p)) : NULL;
        part[i] = (struct at_clip_file){p, (size_t)((stop ? stop : end) - p)};
        p = stop ? stop + 1 : end;
    }
    struct at_clip_files files = {.merges = part[1], .config = part[2], .specials = part[3]};
    *(data[0] == 'J' ? &files.tokenizer : &files.vocab) = part[0];
    struct at_clip_tokenizer *t = at_clip_tokenizer_create_from_memory(&files, &log);
    if (!t != (log.error != AT_ERROR_NONE))
        abort(); // a failure without a word, or the other way round
    struct at_clip_encoding e;
    int32_t ids[77];
    if (t && at_clip_tokenizer_encode(t, part[4].data ? part[4].data : "", part[4].bytes, ids, 77, &e)) {
        for (int i = 0; i < 77; i++)
            if (ids[i] < 0 || ids[i] >= at_clip_tokenizer_size(t))
                abort();
        if (e.tokens < 2 || e.cut > part[4].bytes)
            abort();
    }
    at_clip_tokenizer_destroy(&t);
    return 0;
}
