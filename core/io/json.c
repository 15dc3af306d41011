// SPDX-License-Identifier: Apache-2.0
#include "core/io/json.h"

#include "core/base/alloc.h"
#include "core/base/utf8.h"
#include "core/io/file.h"
#include "core/io/json_doc.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local bool starved; // cJSON itself does not tell a lack of memory from a slip

static void *hook_malloc(size_t size)
{
    void *block = at_calloc(size, 1);
    starved = starved || !block;
    return block;
}

static void set_hooks(void)
{
    cJSON_Hooks hooks = {.malloc_fn = hook_malloc, .free_fn = at_free};
    cJSON_InitHooks(&hooks);
}

void at_json_use_alloc(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_hooks);
}

struct scan {
    struct at_log *log;
    const char *name;
    char *text;
    size_t size;
    const struct at_json_limits *limits;
};

static bool fail_at(const struct scan *s, size_t at, const char *what)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at && i < s->size; i++) {
        if (s->text[i] == '\n') {
            line++;
            column = 1;
        } else {
            column += ((unsigned char)s->text[i] & 0xc0) != 0x80;
        }
    }
    return at_fail(s->log, AT_ERROR_INPUT, "%s:%zu:%zu: %s", s->name, line, column, what);
}

// From the opening quote at *at to the byte after the closing one.
static bool scan_string(const struct scan *s, size_t *at)
{
    size_t i = *at + 1;
    while (i < s->size && s->text[i] != '"') {
        unsigned char c = (unsigned char)s->text[i];
        if (c == '\\') {
            if (s->size - i >= 6 && memcmp(s->text + i + 1, "u0000", 5) == 0)
                return fail_at(s, i, "\\u0000 in a string is not accepted; remove it");
            i += 2;
            continue;
        }
        if (c < 0x20)
            return fail_at(s, i, "a control character or line break inside a string; close the quote or write \\n");
        size_t step = at_utf8_step(s->text + i, s->size - i, NULL);
        if (step == 0)
            return fail_at(s, i, "a byte that is not UTF-8; save the file as UTF-8");
        i += step;
    }
    if (i >= s->size)
        return fail_at(s, *at, "the string that starts here has no closing quote");
    *at = i + 1;
    return true;
}

static size_t digits(const struct scan *s, size_t i)
{
    while (i < s->size && s->text[i] >= '0' && s->text[i] <= '9')
        i++;
    return i;
}

// The number grammar of RFC 8259 from *at on; cJSON alone would take 01 and 1. too.
static bool scan_number(const struct scan *s, size_t *at)
{
    size_t start = *at + (s->text[*at] == '-'), i = digits(s, start);
    bool ok = i > start && (s->text[start] != '0' || i == start + 1);
    if (ok && i < s->size && s->text[i] == '.') {
        size_t fraction = i + 1;
        i = digits(s, fraction);
        ok = i > fraction;
    }
    if (ok && i < s->size && (s->text[i] == 'e' || s->text[i] == 'E')) {
        size_t power = i + 1 + (i + 1 < s->size && (s->text[i + 1] == '+' || s->text[i + 1] == '-'));
        i = digits(s, power);
        ok = i > power;
    }
    if (!ok || i - *at > 60) // cJSON reads 63 characters of a number
        return fail_at(s, *at, "not a number that JSON allows");
    *at = i;
    return true;
}

// Python writes Infinity, for which JSON has no word (diffusers: "lambda_min_clipped": -Infinity). In place it becomes a
// number that no double holds.
static bool scan_infinity(const struct scan *s, size_t *at)
{
    size_t start = *at + (s->text[*at] == '-');
    if (s->size - start < 8 || memcmp(s->text + start, "Infinity", 8) != 0)
        return false;
    memcpy(s->text + start, "1e999   ", 8);
    *at = start + 8;
    return true;
}

// Checks what cJSON lets pass and counts what could exhaust stack or memory.
static bool scan_all(const struct scan *s)
{
    size_t values = 1;
    int depth = 0;
    bool bom = s->size >= 3 && memcmp(s->text, "\xef\xbb\xbf", 3) == 0;
    for (size_t i = bom ? 3 : 0; i < s->size;) {
        unsigned char c = (unsigned char)s->text[i];
        if (c == '"') {
            if (!scan_string(s, &i))
                return false;
            continue;
        }
        if ((c == '-' || c == 'I') && scan_infinity(s, &i))
            continue;
        if (c == '-' || (c >= '0' && c <= '9')) {
            if (!scan_number(s, &i))
                return false;
            continue;
        }
        if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c >= 0x7f)
            return fail_at(s, i, "a character that JSON does not allow outside strings");
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        if (depth > s->limits->depth)
            return fail_at(s, i, "objects or arrays are nested too deeply");
        values += c == ',' || c == '{' || c == '[';
        if (values > s->limits->values)
            return fail_at(s, i, "too many values");
        i++;
    }
    return true;
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

static bool fail_twice(struct at_json_doc *doc, const cJSON *item)
{
    struct at_json value = {doc, item};
    return at_json_fail(value, "the key occurs twice; remove one");
}

static bool unique_here(struct at_json_doc *doc, const cJSON *object)
{
    size_t n = 0;
    for (const cJSON *c = object->child; c; c = c->next)
        n++;
    if (n <= 8) {
        for (const cJSON *c = object->child; c; c = c->next)
            for (const cJSON *d = object->child; d != c; d = d->next)
                if (strcmp(c->string, d->string) == 0)
                    return fail_twice(doc, c);
        return true;
    }
    const cJSON **all = at_calloc(n, sizeof(*all));
    if (!all)
        return at_fail_memory(doc->log, n * sizeof(*all));
    size_t i = 0;
    for (const cJSON *c = object->child; c; c = c->next)
        all[i++] = c;
    qsort(all, n, sizeof(*all), by_key);
    bool ok = true;
    for (i = 1; ok && i < n; i++)
        if (strcmp(all[i - 1]->string, all[i]->string) == 0)
            ok = fail_twice(doc, all[i]);
    at_free(all);
    return ok;
}

static bool unique_keys(struct at_json_doc *doc, const cJSON *item)
{
    if (cJSON_IsObject(item) && !unique_here(doc, item))
        return false;
    for (const cJSON *c = item->child; c; c = c->next)
        if (c->child && !unique_keys(doc, c))
            return false;
    return true;
}

static bool parse_text(struct at_json_doc *doc, const struct scan *s)
{
    const char *end = NULL;
    starved = false;
    doc->root = cJSON_ParseWithLengthOpts(s->text, s->size + 1, &end, false);
    if (!doc->root && starved)
        return at_fail_memory(s->log, s->size);
    if (!doc->root) {
        size_t at = end && end >= s->text && end <= s->text + s->size ? (size_t)(end - s->text) : 0;
        return fail_at(s, at, at < s->size ? "JSON syntax error here" : s->size == 0
                       ? "there is nothing in it" : "the JSON ends too early; is it cut short?");
    }
    size_t at = (size_t)(end - s->text);
    at += strspn(s->text + at, " \t\r\n");
    if (at < s->size)
        return fail_at(s, at, "something follows the end of the JSON value; remove it");
    return unique_keys(doc, doc->root);
}

struct at_json_doc *at_json_parse(struct at_log *log, const char *name, const void *bytes, size_t size,
                                  const struct at_json_limits *limits)
{
    struct at_json_limits in_force = limits ? *limits : (struct at_json_limits){0};
    in_force.bytes = in_force.bytes ? in_force.bytes : (size_t)64 << 20;
    in_force.values = in_force.values ? in_force.values : 8000000;
    in_force.depth = in_force.depth ? in_force.depth : 64;
    if (size > in_force.bytes) {
        at_fail(log, AT_ERROR_INPUT, "%s: %zu bytes of JSON; at most %zu are accepted", name, size, in_force.bytes);
        return NULL;
    }
    at_json_use_alloc();
    struct at_json_doc *doc = at_calloc(1, sizeof(*doc));
    char *text = at_calloc(size + 1, 1); // cJSON wants the NUL
    if (doc)
        doc->name = at_strdup(name);
    if (!doc || !text || !doc->name) {
        at_fail_memory(log, size + 1);
        goto error;
    }
    doc->log = log;
    if (size)
        memcpy(text, bytes, size);
    struct scan s = {log, name, text, size, &in_force};
    if (!scan_all(&s) || !parse_text(doc, &s))
        goto error;
    at_free(text);
    return doc;
error:
    at_free(text);
    at_json_destroy(&doc);
    return NULL;
}

struct at_json_doc *at_json_load(struct at_log *log, const char *path)
{
    struct at_map map;
    if (!at_file_map(log, path, &map))
        return NULL;
    struct at_json_doc *doc = at_json_parse(log, path, map.data, map.size, NULL);
    at_file_unmap(&map);
    return doc;
}

void at_json_destroy(struct at_json_doc **doc)
{
    if (!*doc)
        return;
    cJSON_Delete((*doc)->root);
    at_free((*doc)->name);
    at_free(*doc);
    *doc = NULL;
}

struct at_json at_json_root(struct at_json_doc *doc)
{
    return (struct at_json){doc, doc ? doc->root : NULL};
}

bool at_json_present(struct at_json v)
{
    return v.item && !cJSON_IsNull(v.item);
}

bool at_json_is_object(struct at_json v)
{
    return cJSON_IsObject(v.item);
}

bool at_json_is_array(struct at_json v)
{
    return cJSON_IsArray(v.item);
}

bool at_json_is_string(struct at_json v)
{
    return cJSON_IsString(v.item);
}

bool at_json_is_number(struct at_json v)
{
    return cJSON_IsNumber(v.item);
}

bool at_json_is_infinite(struct at_json v)
{
    return cJSON_IsNumber(v.item) && isinf(v.item->valuedouble);
}

struct at_json at_json_get(struct at_json object, const char *key)
{
    const cJSON *c = cJSON_IsObject(object.item) ? object.item->child : NULL;
    while (c && strcmp(c->string, key) != 0)
        c = c->next;
    return (struct at_json){object.doc, c};
}

struct at_json at_json_at(struct at_json array, size_t index)
{
    const cJSON *c = cJSON_IsArray(array.item) ? array.item->child : NULL;
    for (; c && index > 0; index--)
        c = c->next;
    return (struct at_json){array.doc, c};
}

size_t at_json_count(struct at_json v)
{
    size_t n = 0;
    for (const cJSON *c = v.item ? v.item->child : NULL; c; c = c->next)
        n++;
    return n;
}

struct at_json at_json_first(struct at_json v)
{
    return (struct at_json){v.doc, v.item ? v.item->child : NULL};
}

struct at_json at_json_next(struct at_json v)
{
    return (struct at_json){v.doc, v.item ? v.item->next : NULL};
}

const char *at_json_key(struct at_json v)
{
    return v.item && v.item->string ? v.item->string : "";
}

// Writes the path from `item` down to `goal` at the end of `path`; false, and nothing written, if it is not below.
static bool find_path(const cJSON *item, const cJSON *goal, char *path, size_t used, size_t size)
{
    if (item == goal)
        return true;
    int index = 0;
    for (const cJSON *c = item->child; c; c = c->next, index++) {
        int n = c->string ? snprintf(path + used, size - used, "%s%s", used ? "." : "", c->string)
                          : snprintf(path + used, size - used, "[%d]", index);
        size_t next = n < 0 || (size_t)n >= size - used ? size - 1 : used + (size_t)n;
        if (find_path(c, goal, path, next, size))
            return true;
        path[used] = '\0';
    }
    return false;
}

bool at_json_fail(struct at_json v, const char *fmt, ...)
{
    char path[256] = "", text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (!v.doc)
        return at_fail(NULL, AT_ERROR_INPUT, "%s", text);
    if (v.item && v.doc->root && !find_path(v.doc->root, v.item, path, 0, sizeof(path)))
        path[0] = '\0';
    const char *name = v.doc->name ? v.doc->name : "JSON";
    if (path[0])
        return at_fail(v.doc->log, AT_ERROR_INPUT, "%s: field \"%s\": %s", name, path, text);
    return at_fail(v.doc->log, AT_ERROR_INPUT, "%s: %s", name, text);
}
