// SPDX-License-Identifier: Apache-2.0
// JSON Lines: one object a line.
//
//     struct at_jsonl *lines = at_jsonl_open(log, "data/train.jsonl");
//     struct at_json row;
//     enum at_jsonl_step step;
//     while ((step = at_jsonl_next(lines, &row)) == AT_JSONL_ROW)
//         ok = at_json_str(row, "prompt", NULL, &prompt) && ok; // errors read: train.jsonl:7: field "prompt": ...
//     at_jsonl_destroy(&lines);
#ifndef CORE_IO_JSONL_H
#define CORE_IO_JSONL_H

#include "core/io/json.h"

enum at_jsonl_step {
    AT_JSONL_END,
    AT_JSONL_ROW,
    AT_JSONL_BAD, // this line is wrong (the log says how); the next call goes on behind it
};

struct at_jsonl;

// Maps a file; NULL on failure. The log must outlive the result.
struct at_jsonl *at_jsonl_open(struct at_log *log, const char *path);
// From memory, which stays the caller's and must outlive the result; `name` stands in messages.
struct at_jsonl *at_jsonl_parse(struct at_log *log, const char *name, const void *bytes, size_t size);
void at_jsonl_destroy(struct at_jsonl **lines);
// The next line that is not blank; *row is an object, valid until the next call. A line may have 16 MiB.
enum at_jsonl_step at_jsonl_next(struct at_jsonl *lines, struct at_json *row);
size_t at_jsonl_line(const struct at_jsonl *lines); // number of the last line returned, from 1

#endif
