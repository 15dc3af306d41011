// SPDX-License-Identifier: Apache-2.0
#include "datasets/rows.h"

#include "core/base/suggest.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_KEYS 64

struct at_log *at_problems_log(const struct at_problems *problems)
{
    return problems->count < AT_PROBLEMS_SHOWN ? problems->log : NULL;
}

static void count_text(struct at_problems *problems, const char *text)
{
    (void)at_fail(at_problems_log(problems), AT_ERROR_INPUT, "%s", text);
    problems->count++;
}

void at_problem(struct at_problems *problems, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    count_text(problems, text);
}

bool at_problems_end(struct at_problems *problems, const char *what)
{
    if (problems->count == 0)
        return true;
    if (problems->count >= AT_PROBLEMS_SHOWN)
        return at_fail(problems->log, AT_ERROR_INPUT, "%s: %zu or more problems, the first %d are listed above", what,
                       problems->count, AT_PROBLEMS_SHOWN);
    return at_fail(problems->log, AT_ERROR_INPUT, "%s: %zu problem%s, listed above", what, problems->count,
                   problems->count == 1 ? "" : "s");
}

bool at_rows_open_bytes(struct at_log *log, const char *path, const void *bytes, size_t size, struct at_rows *rows)
{
    *rows = (struct at_rows){.path = path, .problems.log = log, .lines = at_jsonl_parse(log, path, bytes, size)};
    return rows->lines != NULL;
}

bool at_rows_open(struct at_log *log, const char *path, struct at_rows *rows)
{
    *rows = (struct at_rows){.path = path, .problems.log = log, .lines = at_jsonl_open(log, path)};
    return rows->lines != NULL;
}

bool at_rows_next(struct at_rows *rows, struct at_json *row)
{
    while (rows->problems.count < AT_PROBLEMS_SHOWN) {
        enum at_jsonl_step step = at_jsonl_next(rows->lines, row);
        rows->line = at_jsonl_line(rows->lines);
        if (step != AT_JSONL_BAD)
            return step == AT_JSONL_ROW;
        rows->problems.count++;
    }
    return false;
}

void at_rows_problem(struct at_rows *rows, const char *field, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    at_problem(&rows->problems, "%s:%zu: field \"%s\": %s", rows->path, rows->line, field, text);
}

static const char *near_key(struct at_json row, const char *field)
{
    const char *keys[MAX_KEYS];
    size_t n = 0;
    for (struct at_json v = at_json_first(row); v.item && n < MAX_KEYS; v = at_json_next(v))
        keys[n++] = at_json_key(v);
    return at_suggest(field, keys, n);
}

const char *at_rows_text(struct at_rows *rows, struct at_json row, const char *field)
{
    struct at_json value = at_json_get(row, field);
    const char *text = NULL;
    if (!at_json_present(value)) {
        const char *near = near_key(row, field);
        if (near && strcmp(near, field) != 0)
            at_rows_problem(rows, field, "missing; was \"%s\" meant?", near);
        else
            at_rows_problem(rows, field, "missing; every row needs it");
    } else if (!at_json_is_string(value)) {
        at_rows_problem(rows, field, "not a string; put the value in quotes");
    } else if (!at_json_as_str(value, &text) || !*text) {
        at_rows_problem(rows, field, "empty; fill it in or delete the row");
        text = NULL;
    }
    return text;
}

bool at_rows_close(struct at_rows *rows)
{
    at_jsonl_destroy(&rows->lines);
    return at_problems_end(&rows->problems, rows->path);
}
