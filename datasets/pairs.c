// SPDX-License-Identifier: Apache-2.0
#include "datasets/pairs.h"

#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/io/file.h"
#include "datasets/rows.h"
#include "datasets/pairs_check.h"

#include <string.h>

enum verdict { PREFERS_FIRST, PREFERS_SECOND, TIE, UNCLEAR };

void at_pairs_finish(struct at_pairs *pairs)
{
    at_free(pairs->items);
    at_arena_destroy(&pairs->strings);
    *pairs = (struct at_pairs){0};
}

bool at_pairs_add(struct at_log *log, struct at_pairs *pairs, struct at_pair pair)
{
    if (!pair.prompt || !pair.win || !pair.lose ||
        !at_grow((void **)&pairs->items, &pairs->capacity, pairs->count + 1, sizeof(*pairs->items)))
        return at_fail_memory(log, (pairs->count + 1) * sizeof(*pairs->items));
    pairs->items[pairs->count++] = pair;
    return true;
}

static enum verdict read_label(struct at_rows *rows, struct at_json row, const char *field)
{
    struct at_json value = at_json_get(row, field);
    double label;
    if (!value.item)
        return PREFERS_FIRST;
    if (!at_json_is_number(value)) {
        at_rows_problem(rows, field, "not a number; write 1, 0 or 0.5 without quotes, or delete the row");
        return UNCLEAR;
    }
    if (!at_json_as_num(value, &label)) {
        rows->problems.count++;
        return UNCLEAR;
    }
    if (label == 1)
        return PREFERS_FIRST;
    if (label == 0)
        return PREFERS_SECOND;
    if (label == 0.5)
        return TIE;
    at_rows_problem(rows, field, "%g is no verdict; use 1 (the first is preferred), 0 (the second) or 0.5 (a tie)",
                    label);
    return UNCLEAR;
}

// A path of the row, from where the program runs. NULL: no memory.
static const char *from_here(struct at_pairs *pairs, const char *dir, const char *name)
{
    if (name[0] == '/' || strcmp(dir, ".") == 0)
        return at_arena_strf(pairs->strings, "%s", name);
    return at_arena_strf(pairs->strings, "%s/%s", dir, name);
}

// The names of the fields that hold prompt, two pictures and the label.
struct fields {
    const char *prompt, *first, *second, *label;
};

static bool read_row(struct at_rows *rows, struct at_json row, const char *dir, struct at_pairs *pairs)
{
    static const struct fields own = {"prompt", "win", "lose", "label"};
    static const struct fields pick = {"caption", "jpg_0", "jpg_1", "label_0"};
    bool is_pick = at_json_get(row, "jpg_0").item || at_json_get(row, "jpg_1").item;
    const struct fields *f = is_pick ? &pick : &own;
    const char *prompt = at_rows_text(rows, row, f->prompt);
    const char *first = at_rows_text(rows, row, f->first), *second = at_rows_text(rows, row, f->second);
    const char *mask = at_json_get(row, "mask").item ? at_rows_text(rows, row, "mask") : NULL;
    bool no_mask = at_json_get(row, "mask").item && !mask;
    if (is_pick && !at_json_present(at_json_get(row, "label_0"))) {
        at_rows_problem(rows, "label_0", "missing; without it nobody knows which picture was preferred");
        return true;
    }
    enum verdict verdict = read_label(rows, row, f->label);
    if (!prompt || !first || !second || no_mask || verdict == UNCLEAR)
        return true;
    if (verdict == TIE) {
        pairs->ties++;
        return true;
    }
    if (strcmp(first, second) == 0) {
        at_rows_problem(rows, f->second, "the same file as \"%s\"; a picture cannot be better than itself", f->first);
        return true;
    }
    bool swap = verdict == PREFERS_SECOND;
    struct at_pair pair = {.prompt = at_arena_strf(pairs->strings, "%s", prompt),
                           .win = from_here(pairs, dir, swap ? second : first),
                           .lose = from_here(pairs, dir, swap ? first : second),
                           .mask = mask ? from_here(pairs, dir, mask) : NULL,
                           .line = rows->line};
    if (mask && !pair.mask)
        return at_fail_memory(rows->problems.log, strlen(mask));
    return at_pairs_add(rows->problems.log, pairs, pair);
}

// Reads all rows; closes them unless they are to be checked further.
static bool read_rows(struct at_rows *rows, struct at_pairs *pairs)
{
    char *dir = at_path_dir(rows->path);
    pairs->strings = at_arena_create();
    bool ok = dir && pairs->strings;
    if (!ok)
        (void)at_fail_memory(rows->problems.log, sizeof(*pairs));
    struct at_json row;
    while (ok && at_rows_next(rows, &row))
        ok = read_row(rows, row, dir, pairs);
    at_free(dir);
    if (ok && pairs->count == 0 && rows->problems.count == 0)
        at_problem(&rows->problems, "%s: no pair in it%s", rows->path,
                   pairs->ties ? "; every label is 0.5, a tie" : "; write one {\"prompt\", \"win\", \"lose\"} a line");
    return ok;
}

bool at_pairs_parse(struct at_log *log, const char *path, const void *bytes, size_t size, struct at_pairs *pairs)
{
    struct at_rows rows;
    *pairs = (struct at_pairs){0};
    if (!at_rows_open_bytes(log, path, bytes, size, &rows))
        return false;
    bool ok = read_rows(&rows, pairs);
    ok = at_rows_close(&rows) && ok;
    if (!ok)
        at_pairs_finish(pairs);
    return ok;
}

static bool read_file(struct at_log *log, const char *path, const struct at_pairs_params *params,
                      struct at_pairs *pairs)
{
    struct at_rows rows;
    if (!at_rows_open(log, path, &rows))
        return false;
    bool ok = read_rows(&rows, pairs);
    if (ok)
        at_pairs_check(&rows.problems, path, params, pairs);
    return at_rows_close(&rows) && ok;
}

bool at_pairs_read(struct at_log *log, const char *path, const struct at_pairs_params *params, struct at_pairs *pairs)
{
    *pairs = (struct at_pairs){0};
    bool ok;
    if (!at_dir_exists(path)) {
        ok = read_file(log, path, params, pairs);
    } else {
        char *inside = at_path_join(path, "pairs.jsonl");
        ok = inside ? true : at_fail_memory(log, strlen(path));
        if (ok)
            ok = at_file_exists(inside) ? read_file(log, inside, params, pairs)
                                        : at_pairs_folders(log, path, params, pairs);
        at_free(inside);
    }
    if (!ok)
        at_pairs_finish(pairs);
    else if (pairs->ties > 0)
        at_info(log, "%s: %zu ties (label 0.5) left out, %zu pairs kept", path, pairs->ties, pairs->count);
    return ok;
}
