// SPDX-License-Identifier: Apache-2.0
#include "datasets/prompts.h"

#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/base/utf8.h"
#include "core/io/file.h"
#include "core/io/json.h"
#include "datasets/rows.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_BYTES ((size_t)64 << 20)
#define MAX_SIDE 32768
#define MAX_STEPS 1000
#define MAX_SCALE 1000.0

struct reader {
    const char *name;
    size_t line;
    struct at_problems problems;
    struct at_prompts *out;
};

void at_prompts_finish(struct at_prompts *p)
{
    at_free(p->items);
    at_arena_destroy(&p->strings);
    *p = (struct at_prompts){0};
}

static bool add(struct at_log *log, struct at_prompts *p, struct at_prompt prompt)
{
    if (!at_grow((void **)&p->items, &p->capacity, p->count + 1, sizeof(*p->items)))
        return at_fail_memory(log, (p->count + 1) * sizeof(*p->items));
    p->items[p->count++] = prompt;
    return true;
}

// A copy without white space at the ends; NULL: no memory.
static const char *keep(struct at_log *log, struct at_prompts *p, const char *text, size_t n)
{
    while (n && isspace((unsigned char)text[0]))
        text++, n--;
    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    if (!p->strings)
        p->strings = at_arena_create();
    char *copy = p->strings ? at_arena_alloc(p->strings, n + 1) : NULL;
    if (!copy) {
        at_fail_memory(log, n + 1);
        return NULL;
    }
    memcpy(copy, text, n);
    return copy;
}

bool at_prompts_add(struct at_log *log, struct at_prompts *p, const char *text)
{
    const char *copy = keep(log, p, text, strlen(text));
    return copy && add(log, p, (struct at_prompt){.text = copy, .line = p->count + 1});
}

// Where the next option begins: "--" and a letter, after white space or at the start; `end` if there is none.
static const char *next_option(const char *at, const char *start, const char *end)
{
    for (; at + 2 < end; at++)
        if (at[0] == '-' && at[1] == '-' && isalpha((unsigned char)at[2]) &&
            (at == start || isspace((unsigned char)at[-1])))
            return at;
    return end;
}

static bool read_whole(struct reader *r, const char *name, const char *value, long long min, long long max,
                       long long *out)
{
    char *rest;
    errno = 0;
    *out = strtoll(value, &rest, 10);
    if (rest == value || *rest || errno || *out < min || *out > max) {
        at_problem(&r->problems, "%s:%zu: option --%s: \"%.40s\" is not a whole number from %lld to %lld", r->name,
                   r->line, name, value, min, max);
        return false;
    }
    return true;
}

static bool read_scale(struct reader *r, const char *value, double *out)
{
    char *rest;
    *out = strtod(value, &rest);
    if (rest == value || *rest || !(*out >= 0 && *out <= MAX_SCALE)) {
        at_problem(&r->problems, "%s:%zu: option --l: \"%.40s\" is not a number from 0 to %g", r->name, r->line, value,
                   MAX_SCALE);
        return false;
    }
    return true;
}

static bool read_sampler(struct reader *r, const char *value, enum at_sampler_kind *out)
{
    int kind = at_sampler_find(value);
    if (kind < 0)
        at_problem(&r->problems, "%s:%zu: option --ss: \"%.40s\" is not a sampler here; there are "
                   AT_SAMPLER_WORDS, r->name, r->line, value);
    else
        *out = (enum at_sampler_kind)kind;
    return kind >= 0;
}

static bool unsupported(struct reader *r, const char *name)
{
    static const char *const known[] = {"g", "cn", "ctr", "fs", "f", "ow", "oh"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcasecmp(name, known[i]) == 0) {
            at_problem(&r->problems, "%s:%zu: option --%s is not supported here; take it out", r->name, r->line, name);
            return false;
        }
    at_problem(&r->problems, "%s:%zu: unknown option --%s; there are --n --w --h --d --s --l --ss", r->name, r->line,
               name);
    return false;
}

// One option; `value` has no white space at its ends.
static bool set_option(struct reader *r, struct at_prompt *prompt, const char *name, const char *value)
{
    long long x = 0;
    bool ok = true;
    if (strcasecmp(name, "ss") == 0)
        return read_sampler(r, value, &prompt->sampler);
    if (name[0] && name[1])
        return unsupported(r, name);
    switch (tolower((unsigned char)name[0])) {
    case 'n':
        prompt->negative = value;
        return true;
    case 'w':
        ok = read_whole(r, name, value, 1, MAX_SIDE, &x);
        prompt->width = (int)x;
        return ok;
    case 'h':
        ok = read_whole(r, name, value, 1, MAX_SIDE, &x);
        prompt->height = (int)x;
        return ok;
    case 's':
        ok = read_whole(r, name, value, 1, MAX_STEPS, &x);
        prompt->steps = (int)x;
        return ok;
    case 'd':
        ok = read_whole(r, name, value, 0, 1LL << 53, &x);
        prompt->seed = (uint64_t)x;
        prompt->has_seed = true;
        return ok;
    case 'l':
        prompt->has_cfg = true;
        return read_scale(r, value, &prompt->cfg);
    default:
        return unsupported(r, name);
    }
}

// False only when memory ran out.
static bool read_line(struct reader *r, const char *line, size_t n)
{
    const char *end = line + n, *option = next_option(line, line, end);
    struct at_prompt prompt = {.line = r->line, .text = keep(r->problems.log, r->out, line, (size_t)(option - line))};
    bool good = true;
    if (!prompt.text)
        return false;
    if (!prompt.text[0]) {
        at_problem(&r->problems, "%s:%zu: there is no prompt before the options", r->name, r->line);
        return true;
    }
    while (option < end) {
        const char *name = option + 2, *value = name, *next;
        while (value < end && !isspace((unsigned char)*value))
            value++;
        next = next_option(value, line, end);
        const char *key = keep(r->problems.log, r->out, name, (size_t)(value - name));
        const char *text = keep(r->problems.log, r->out, value, (size_t)(next - value));
        if (!key || !text)
            return false;
        good = set_option(r, &prompt, key, text) && good;
        option = next;
    }
    return !good || add(r->problems.log, r->out, prompt);
}

// Nothing but white space, or a comment.
static bool is_empty(const char *line, size_t n)
{
    while (n && isspace((unsigned char)line[0]))
        line++, n--;
    return n == 0 || line[0] == '#';
}

static bool read_text(struct reader *r, const char *bytes, size_t size)
{
    const char *end = bytes + size;
    for (const char *next; bytes < end && r->problems.count < AT_PROBLEMS_SHOWN; bytes = next) {
        const char *stop = memchr(bytes, '\n', (size_t)(end - bytes));
        next = stop ? stop + 1 : end;
        size_t n = (size_t)((stop ? stop : end) - bytes);
        r->line++;
        if (is_empty(bytes, n))
            continue;
        if (memchr(bytes, '\0', n) || !at_utf8_valid(bytes, n))
            at_problem(&r->problems, "%s:%zu: the line is not UTF-8 text; save the file as UTF-8", r->name, r->line);
        else if (!read_line(r, bytes, n))
            return false;
    }
    return true;
}

// The member `name`, or else `other`.
static const char *either(struct at_json object, const char *name, const char *other)
{
    return at_json_get(object, name).item ? name : other;
}

static bool read_settings(struct at_json row, struct at_prompt *prompt)
{
    int64_t seed;
    const char *scale = either(row, "scale", "cfg");
    struct at_json cfg = at_json_get(row, scale), seed_value = at_json_get(row, "seed");
    const char *sampler = NULL;
    bool ok = at_json_str(row, either(row, "sample_sampler", "sampler"), NULL, &sampler) &&
              at_json_int(row, "width", 0, 1, MAX_SIDE, &prompt->width) &&
              at_json_int(row, "height", 0, 1, MAX_SIDE, &prompt->height) &&
              at_json_int(row, either(row, "sample_steps", "steps"), 0, 1, MAX_STEPS, &prompt->steps);
    int kind = ok && sampler ? at_sampler_find(sampler) : 0;
    if (kind < 0)
        return at_json_fail(at_json_get(row, either(row, "sample_sampler", "sampler")),
                            "\"%.40s\" is not a sampler here; there are " AT_SAMPLER_WORDS, sampler);
    prompt->sampler = (enum at_sampler_kind)kind;
    if (ok && at_json_present(cfg)) {
        prompt->has_cfg = true;
        ok = at_json_as_num(cfg, &prompt->cfg) &&
             ((prompt->cfg >= 0 && prompt->cfg <= MAX_SCALE) ||
              at_json_fail(cfg, "%g is out of range; give a number from 0 to %g", prompt->cfg, MAX_SCALE));
    }
    if (ok && at_json_present(seed_value)) {
        prompt->has_seed = true;
        ok = at_json_as_int(seed_value, 0, INT64_C(1) << 53, &seed);
        prompt->seed = ok ? (uint64_t)seed : 0;
    }
    return ok;
}

static bool read_row(struct reader *r, struct at_json row)
{
    static const char *const keys[] = {"prompt",       "negative_prompt", "negative", "width", "height", "seed",
                                       "sample_steps", "steps",           "scale",    "cfg",   "sample_sampler",
                                       "sampler",      NULL};
    const char *text = NULL, *negative = NULL;
    struct at_prompt prompt = {.line = r->line};
    if (at_json_is_string(row)) {
        if (!at_json_as_str(row, &text))
            return false;
    } else if (!at_json_is_object(row)) {
        return at_json_fail(row, "expected a prompt: a string, or an object with \"prompt\"");
    } else if (!at_json_check_keys(row, keys) || !at_json_str(row, "prompt", NULL, &text) ||
               !at_json_str(row, either(row, "negative_prompt", "negative"), NULL, &negative) ||
               !read_settings(row, &prompt)) {
        return false;
    }
    if (!text || !text[strspn(text, " \t\r\n\v\f")])
        return at_json_fail(row, "the prompt is missing or empty");
    struct at_log *log = r->problems.log;
    prompt.text = keep(log, r->out, text, strlen(text));
    if (negative)
        prompt.negative = keep(log, r->out, negative, strlen(negative));
    return prompt.text && (!negative || prompt.negative) && add(log, r->out, prompt);
}

static bool read_json(struct reader *r, const void *bytes, size_t size)
{
    struct at_json_doc *doc = at_json_parse(r->problems.log, r->name, bytes, size, NULL);
    struct at_json list = at_json_root(doc);
    bool ok = doc != NULL;
    if (ok && at_json_is_object(list))
        ok = at_json_need(list, "prompts", &list);
    if (ok && !at_json_is_array(list))
        ok = at_json_fail(list, "expected an array of prompts");
    for (struct at_json row = at_json_first(list); ok && row.item; row = at_json_next(row)) {
        r->line++;
        if (!read_row(r, row))
            ok = ++r->problems.count < AT_PROBLEMS_SHOWN;
    }
    at_json_destroy(&doc);
    return ok;
}

static bool ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcasecmp(name + n - m, end) == 0;
}

bool at_prompts_parse(struct at_log *log, const char *name, const void *bytes, size_t size, struct at_prompts *prompts)
{
    static const unsigned char mark[] = {0xef, 0xbb, 0xbf};
    const char *text = bytes;
    struct reader r = {.name = name, .problems.log = log, .out = prompts};
    bool ok;
    *prompts = (struct at_prompts){0};
    if (ends_in(name, ".toml"))
        return at_fail(log, AT_ERROR_INPUT, "%s: prompts in TOML are not read; write .txt or .json", name);
    if (ends_in(name, ".json")) {
        ok = read_json(&r, bytes, size);
    } else {
        size_t skip = size >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0;
        ok = read_text(&r, text + skip, size - skip);
    }
    if (r.problems.count)
        ok = at_problems_end(&r.problems, name);
    else if (ok && prompts->count == 0)
        ok = at_fail(log, AT_ERROR_INPUT, "%s: there is no prompt in it; write one a line", name);
    if (!ok)
        at_prompts_finish(prompts);
    return ok;
}

bool at_prompts_read(struct at_log *log, const char *path, struct at_prompts *prompts)
{
    uint8_t *bytes;
    size_t size;
    *prompts = (struct at_prompts){0};
    if (!at_file_read(log, path, MAX_BYTES, &bytes, &size))
        return false;
    bool ok = at_prompts_parse(log, path, bytes, size, prompts);
    at_free(bytes);
    return ok;
}
