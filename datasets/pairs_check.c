// SPDX-License-Identifier: Apache-2.0
#include "datasets/pairs_check.h"

#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/io/file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PROMPT ((size_t)64 * 1024)

// "FILE:LINE: field "win"" or, in folders, the file's own name.
static void problem_at(struct at_problems *problems, const char *path, const struct at_pair *pair, const char *field,
                       const char *file, const char *what)
{
    if (pair->line > 0)
        at_problem(problems, "%s:%zu: field \"%s\": %s: %s", path, pair->line, field, file, what);
    else
        at_problem(problems, "%s: %s", file, what);
}

static bool check_there(struct at_problems *problems, const char *path, const struct at_pair *pair, const char *field,
                        const char *file)
{
    if (at_file_exists(file))
        return true;
    problem_at(problems, path, pair, field, file,
               "no such file; paths are relative to the JSONL file, correct the row or delete it");
    return false;
}

// Decodes one picture; a failure has been counted.
static bool check_picture(struct at_problems *problems, const char *path, const struct at_pair *pair, const char *field,
                          const char *file, struct at_image *image)
{
    if (at_image_read(at_problems_log(problems), file, 3, image))
        return true;
    problem_at(problems, path, pair, field, file, "does not decode; replace the picture or delete the row");
    return false;
}

static void check_pictures(struct at_problems *problems, const char *path, struct at_pair *pair)
{
    struct at_image win = {0}, lose = {0};
    bool ok = check_picture(problems, path, pair, "win", pair->win, &win);
    ok = check_picture(problems, path, pair, "lose", pair->lose, &lose) && ok;
    char text[160];
    if (ok && (win.width != lose.width || win.height != lose.height)) {
        snprintf(text, sizeof(text), "%d x %d pixels, but the preferred picture has %d x %d; make them the same size",
                 lose.width, lose.height, win.width, win.height);
        problem_at(problems, path, pair, "lose", pair->lose, text);
    } else if (ok && memcmp(win.pixels, lose.pixels, (size_t)win.width * (size_t)win.height * 3) == 0) {
        problem_at(problems, path, pair, "lose", pair->lose, "the same picture as the preferred one; delete the row");
    }
    pair->width = win.width;
    pair->height = win.height;
    at_image_finish(&win);
    at_image_finish(&lose);
}

void at_pairs_check(struct at_problems *problems, const char *path, const struct at_pairs_params *params,
                    const struct at_pairs *pairs)
{
    for (size_t i = 0; i < pairs->count && problems->count < AT_PROBLEMS_SHOWN; i++) {
        struct at_pair *pair = &pairs->items[i];
        bool there = check_there(problems, path, pair, "win", pair->win);
        there = check_there(problems, path, pair, "lose", pair->lose) && there;
        if (pair->mask)
            there = check_there(problems, path, pair, "mask", pair->mask) && there;
        if (there && !params->skip_images)
            check_pictures(problems, path, pair);
    }
}

bool at_pair_load(struct at_log *log, const struct at_pair *pair, int size, struct at_image *win, struct at_image *lose)
{
    const char *paths[2] = {pair->win, pair->lose};
    struct at_image *out[2] = {win, lose};
    *win = *lose = (struct at_image){0};
    for (int i = 0; i < 2; i++) {
        struct at_image whole = {0};
        bool ok = at_image_read(log, paths[i], 3, &whole) && at_image_cover(log, &whole, size, size, out[i]);
        at_image_finish(&whole);
        if (!ok) {
            at_image_finish(win);
            return false;
        }
    }
    return true;
}

static const char *const ends[] = {".png", ".jpg", ".jpeg"}; // of pictures

static bool is_picture(const char *name, size_t *stem)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        size_t m = strlen(ends[i]);
        if (n > m && strcmp(name + n - m, ends[i]) == 0) {
            *stem = n - m;
            return true;
        }
    }
    return false;
}

static int by_name(const void *key, const void *name)
{
    return strcmp(key, *(char *const *)name);
}

// The picture of the same stem among the sorted names of the other folder, or NULL.
static const char *partner(const char *name, size_t stem, char *const *others, size_t count)
{
    char key[NAME_MAX + 8];
    for (size_t i = 0; count && i < sizeof(ends) / sizeof(ends[0]); i++) {
        snprintf(key, sizeof(key), "%.*s%s", (int)stem, name, ends[i]);
        char *const *found = bsearch(key, others, count, sizeof(*others), by_name);
        if (found)
            return *found;
    }
    return NULL;
}

// DIR/w/STEM.txt without the space around it; NULL after a problem.
static const char *read_prompt(struct at_problems *problems, struct at_pairs *pairs, const char *dir, const char *name,
                               size_t stem)
{
    const char *path = at_arena_strf(pairs->strings, "%s/w/%.*s.txt", dir, (int)stem, name);
    uint8_t *data;
    size_t size;
    if (!path || !at_file_exists(path)) {
        at_problem(problems, "%s/w/%s: no %.*s.txt beside it; write the prompt there", dir, name, (int)stem, name);
        return NULL;
    }
    if (!at_file_read(at_problems_log(problems), path, MAX_PROMPT, &data, &size)) {
        problems->count++;
        return NULL;
    }
    char *text = (char *)data, *end = text + strlen(text);
    while (*text && strchr(" \t\r\n", *text))
        text++;
    while (end > text && strchr(" \t\r\n", end[-1]))
        *--end = 0;
    const char *prompt = *text ? at_arena_strf(pairs->strings, "%s", text) : NULL;
    if (!prompt)
        at_problem(problems, "%s: empty; write the prompt there", path);
    at_free(data);
    return prompt;
}

// The names in the two folders.
struct folders {
    const char *dir;
    char **wins, **losers;
    size_t win_count, loser_count;
};

static bool add_pair(struct at_problems *problems, const struct folders *f, const char *name, struct at_pairs *pairs)
{
    size_t stem;
    if (!is_picture(name, &stem))
        return true;
    const char *other = partner(name, stem, f->losers, f->loser_count);
    if (!other) {
        at_problem(problems, "%s/w/%s: no picture of that name in %s/l; add it or delete this one", f->dir, name,
                   f->dir);
        return true;
    }
    const char *prompt = read_prompt(problems, pairs, f->dir, name, stem);
    if (!prompt)
        return true;
    return at_pairs_add(problems->log, pairs,
                        (struct at_pair){.prompt = prompt,
                                         .win = at_arena_strf(pairs->strings, "%s/w/%s", f->dir, name),
                                         .lose = at_arena_strf(pairs->strings, "%s/l/%s", f->dir, other)});
}

static bool match(struct at_problems *problems, const struct folders *f, struct at_pairs *pairs)
{
    for (size_t i = 0; i < f->win_count; i++)
        if (!add_pair(problems, f, f->wins[i], pairs))
            return false;
    for (size_t i = 0; i < f->loser_count; i++) {
        size_t stem;
        if (is_picture(f->losers[i], &stem) && !partner(f->losers[i], stem, f->wins, f->win_count))
            at_problem(problems, "%s/l/%s: no picture of that name in %s/w; add it or delete this one", f->dir,
                       f->losers[i], f->dir);
    }
    return true;
}

bool at_pairs_folders(struct at_log *log, const char *dir, const struct at_pairs_params *params, struct at_pairs *pairs)
{
    struct folders f = {.dir = dir};
    struct at_problems problems = {.log = log};
    char *w = at_path_join(dir, "w"), *l = at_path_join(dir, "l");
    pairs->strings = at_arena_create();
    bool ok = w && l && pairs->strings;
    if (!ok)
        (void)at_fail_memory(log, strlen(dir));
    if (ok && (!at_dir_exists(w) || !at_dir_exists(l)))
        ok = at_fail(log, AT_ERROR_INPUT,
                     "%s: holds neither pairs.jsonl nor the folders w (preferred) and l with pictures of the same "
                     "names",
                     dir);
    ok = ok && at_dir_list(log, w, &f.wins, &f.win_count) && at_dir_list(log, l, &f.losers, &f.loser_count) &&
         match(&problems, &f, pairs);
    if (ok && pairs->count == 0 && problems.count == 0)
        at_problem(&problems, "%s: no pictures (.png, .jpg, .jpeg)", w);
    if (ok)
        at_pairs_check(&problems, dir, params, pairs);
    at_names_free(&f.wins, f.win_count);
    at_names_free(&f.losers, f.loser_count);
    at_free(w);
    at_free(l);
    return at_problems_end(&problems, dir) && ok;
}
