// SPDX-License-Identifier: Apache-2.0
#include "core/io/jsonl.h"

#include "core/base/alloc.h"
#include "core/io/file.h"

#include <string.h>

struct at_jsonl {
    struct at_log *log;
    char *name;
    struct at_map map; // of at_jsonl_open
    const char *text;
    size_t size, at, line;
    struct at_json_doc *doc; // of the last line
};

struct at_jsonl *at_jsonl_parse(struct at_log *log, const char *name, const void *bytes, size_t size)
{
    struct at_jsonl *lines = at_calloc(1, sizeof(*lines));
    if (lines)
        lines->name = at_strdup(name);
    if (!lines || !lines->name) {
        at_fail_memory(log, sizeof(*lines));
        at_jsonl_destroy(&lines);
        return NULL;
    }
    lines->log = log;
    lines->text = bytes;
    lines->size = size;
    if (size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
        lines->at = 3; // byte order mark
    return lines;
}

struct at_jsonl *at_jsonl_open(struct at_log *log, const char *path)
{
    struct at_map map;
    if (!at_file_map(log, path, &map))
        return NULL;
    struct at_jsonl *lines = at_jsonl_parse(log, path, map.data, map.size);
    if (lines)
        lines->map = map;
    else
        at_file_unmap(&map);
    return lines;
}

void at_jsonl_destroy(struct at_jsonl **lines)
{
    if (!*lines)
        return;
    at_json_destroy(&(*lines)->doc);
    at_file_unmap(&(*lines)->map);
    at_free((*lines)->name);
    at_free(*lines);
    *lines = NULL;
}

static bool blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
            return false;
    return true;
}

static enum at_jsonl_step take(struct at_jsonl *lines, const char *text, size_t n, struct at_json *row)
{
    static const struct at_json_limits limits = {.bytes = (size_t)16 << 20, .values = 2000000};
    char *place = at_strf("%s:%zu", lines->name, lines->line);
    if (!place) {
        at_fail_memory(lines->log, strlen(lines->name));
        return AT_JSONL_BAD;
    }
    lines->doc = at_json_parse(lines->log, place, text, n, &limits);
    at_free(place);
    if (!lines->doc)
        return AT_JSONL_BAD;
    *row = at_json_root(lines->doc);
    if (at_json_is_object(*row))
        return AT_JSONL_ROW;
    at_json_fail(*row, "expected an object {...}");
    return AT_JSONL_BAD;
}

enum at_jsonl_step at_jsonl_next(struct at_jsonl *lines, struct at_json *row)
{
    *row = (struct at_json){0};
    at_json_destroy(&lines->doc);
    while (lines->at < lines->size) {
        const char *text = lines->text + lines->at;
        const char *end = memchr(text, '\n', lines->size - lines->at);
        size_t n = end ? (size_t)(end - text) : lines->size - lines->at;
        lines->at += n + (end != NULL);
        lines->line++;
        if (!blank(text, n))
            return take(lines, text, n, row);
    }
    return AT_JSONL_END;
}

size_t at_jsonl_line(const struct at_jsonl *lines)
{
    return lines->line;
}
