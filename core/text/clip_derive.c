// SPDX-License-Identifier: Apache-2.0
// CLIP's vocabulary from its merges. Order of the tokens: openai/CLIP clip/simple_tokenizer.py.
#include "core/text/clip_vocab.h"

#include "core/base/alloc.h"

#include <string.h>

struct at_clip_lines at_clip_lines(const struct at_clip_file *file)
{
    return (struct at_clip_lines){.next = file->data, .end = file->data + file->bytes};
}

static bool is_version(const char *line, size_t n)
{
    static const char quoted[] = "\"bpe_simple_vocab_16e6.txt#version"; // how OpenAI's list begins
    return (n >= 8 && memcmp(line, "#version", 8) == 0) ||
           (n >= sizeof(quoted) - 1 && memcmp(line, quoted, sizeof(quoted) - 1) == 0);
}

bool at_clip_lines_next(struct at_clip_lines *l)
{
    while (l->next < l->end) {
        const char *stop = memchr(l->next, '\n', (size_t)(l->end - l->next));
        l->line = l->next;
        l->bytes = (size_t)((stop ? stop : l->end) - l->next);
        l->next = stop ? stop + 1 : l->end;
        l->number++;
        if (l->bytes > 0 && l->line[l->bytes - 1] == '\r')
            l->bytes--;
        if (l->bytes > 0 && !is_version(l->line, l->bytes))
            return true;
    }
    return false;
}

size_t at_clip_lines_count(const struct at_clip_file *file)
{
    size_t lines = 1;
    for (size_t i = 0; i < file->bytes; i++)
        lines += file->data[i] == '\n';
    return lines;
}

// Bytes that print come first, each spelt as it is.
static bool add_bytes(struct at_clip_tokenizer *t, const char *end)
{
    for (int spare = 0; spare < 2; spare++)
        for (uint32_t b = 0; b < 256; b++) {
            char text[16];
            size_t n = at_clip_byte_text(b, text);
            bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
            if (plain == (spare == 1))
                continue;
            memcpy(text + n, end, strlen(end));
            if (!at_clip_entry_add(t, text, n + strlen(end), t->size++))
                return false;
        }
    return true;
}

// The two parts of a merge as one.
static bool add_whole(struct at_clip_tokenizer *t, const char *line, size_t n)
{
    const char *space = memchr(line, ' ', n);
    char *whole = space ? at_calloc(n, 1) : NULL;
    if (!space)
        return true; // told when the merges are read
    if (!whole)
        return false;
    size_t left = (size_t)(space - line);
    memcpy(whole, line, left);
    memcpy(whole + left, space + 1, n - left - 1);
    bool ok = at_clip_entry_add(t, whole, n - 1, t->size++);
    at_free(whole);
    return ok;
}

bool at_clip_vocab_derive(struct at_clip_tokenizer *t, const struct at_clip_files *files)
{
    struct at_clip_lines l = at_clip_lines(&files->merges);
    size_t room = 512 + at_clip_lines_count(&files->merges) + 2;
    bool ok = at_clip_entries_reserve(t, room) && add_bytes(t, "") && add_bytes(t, "</w>");
    for (int i = 0; ok && i < AT_CLIP_MERGES && at_clip_lines_next(&l); i++)
        ok = add_whole(t, l.line, l.bytes);
    ok = ok && at_clip_entry_add(t, "<|startoftext|>", 15, t->size++) && at_clip_entry_add(t, "<|endoftext|>", 13, t->size++);
    return ok || at_fail_memory(t->log, room * sizeof(struct at_clip_entry));
}
