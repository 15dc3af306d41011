// SPDX-License-Identifier: Apache-2.0
// The rows of a JSONL data file, with all that is wrong named at once: every problem is logged as FILE:LINE: TEXT and
// the reading goes on, until 20 problems have been seen.
//
//     struct at_rows rows;
//     struct at_json row;
//     if (!at_rows_open(log, path, &rows)) return false;
//     while (at_rows_next(&rows, &row)) ... at_rows_problem(&rows, "text", "is empty; write the caption");
//     return at_rows_close(&rows);
#ifndef DATASETS_ROWS_H
#define DATASETS_ROWS_H

#include "core/io/jsonl.h"

#define AT_PROBLEMS_SHOWN 20

// Counts problems and logs the first AT_PROBLEMS_SHOWN.
struct at_problems {
    struct at_log *log;
    size_t count;
};
AT_PRINTF(2, 3) void at_problem(struct at_problems *problems, const char *fmt, ...);
// The log for the next problem: NULL when enough have been shown.
struct at_log *at_problems_log(const struct at_problems *problems);
// True when there was none; else logs how many there were in `what` and fails.
AT_NODISCARD bool at_problems_end(struct at_problems *problems, const char *what);

struct at_rows {
    const char *path;
    size_t line; // of the row in hand, from 1
    struct at_problems problems;
    struct at_jsonl *lines;
};

AT_NODISCARD bool at_rows_open(struct at_log *log, const char *path, struct at_rows *rows);
// The same over bytes in memory, which must outlive it; `path` is only for messages.
AT_NODISCARD bool at_rows_open_bytes(struct at_log *log, const char *path, const void *bytes, size_t size,
                                     struct at_rows *rows);
// The next row, good until the next call. Blank lines are passed over, bad ones are problems.
bool at_rows_next(struct at_rows *rows, struct at_json *row);
// "FILE:LINE: field "FIELD": TEXT", counted.
AT_PRINTF(3, 4) void at_rows_problem(struct at_rows *rows, const char *field, const char *fmt, ...);
// A string that must be there and not be empty; anything else is a problem, and NULL. The message suggests the key that
// was perhaps meant.
const char *at_rows_text(struct at_rows *rows, struct at_json row, const char *field);
// Frees it. False when there were problems.
AT_NODISCARD bool at_rows_close(struct at_rows *rows);

#endif
