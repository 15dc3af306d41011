// SPDX-License-Identifier: Apache-2.0
// Writing: the third part of core/io/json.h.
#include "core/io/json.h"

#include "core/base/alloc.h"
#include "core/base/utf8.h"
#include "core/io/file.h"
#include "core/io/json_doc.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct at_json_doc *at_json_create(struct at_log *log, bool array)
{
    at_json_use_alloc();
    struct at_json_doc *doc = at_calloc(1, sizeof(*doc));
    if (doc) {
        doc->log = log;
        doc->root = array ? cJSON_CreateArray() : cJSON_CreateObject();
    }
    if (!doc || !doc->root) {
        at_fail_memory(log, sizeof(*doc));
        at_json_destroy(&doc);
    }
    return doc;
}

// Hands `item` over to `into`; without one, or where that fails, the document is marked.
static struct at_json put(struct at_json into, const char *key, cJSON *item)
{
    struct at_json none = {into.doc, NULL};
    cJSON *parent = (cJSON *)(uintptr_t)into.item;
    bool ok = item && (cJSON_IsObject(parent) && key ? cJSON_AddItemToObject(parent, key, item)
                       : cJSON_IsArray(parent)       ? cJSON_AddItemToArray(parent, item)
                                                     : false);
    if (ok)
        return (struct at_json){into.doc, item};
    cJSON_Delete(item);
    if (into.doc)
        into.doc->failed = true;
    return none;
}

struct at_json at_json_put_object(struct at_json into, const char *key)
{
    return put(into, key, cJSON_CreateObject());
}

struct at_json at_json_put_array(struct at_json into, const char *key)
{
    return put(into, key, cJSON_CreateArray());
}

void at_json_put_bool(struct at_json into, const char *key, bool value)
{
    put(into, key, cJSON_CreateBool(value));
}

void at_json_put_int(struct at_json into, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRId64, value);
    put(into, key, cJSON_CreateRaw(text));
}

static void shortest(char text[40], double value)
{
    snprintf(text, 40, "null");
    for (int digits = 15; isfinite(value) && digits <= 17; digits++) {
        snprintf(text, 40, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
}

void at_json_put_num(struct at_json into, const char *key, double value)
{
    char text[40];
    shortest(text, value);
    put(into, key, cJSON_CreateRaw(text));
}

void at_json_put_float(struct at_json into, const char *key, float value)
{
    char text[40] = "null";
    for (int digits = 6; isfinite(value) && digits <= 9; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    put(into, key, cJSON_CreateRaw(text));
}

void at_json_put_str(struct at_json into, const char *key, const char *text)
{
    if (!text) {
        put(into, key, cJSON_CreateNull());
        return;
    }
    size_t n = strlen(text);
    if (at_utf8_valid(text, n)) {
        put(into, key, cJSON_CreateString(text));
        return;
    }
    char *clean = at_calloc(n + 1, 3), *out = clean; // a bad byte becomes three, and the NUL
    for (size_t i = 0; clean && text[i];) {
        size_t step = at_utf8_step(text + i, n - i, NULL);
        memcpy(out, step ? text + i : "\xef\xbf\xbd", step ? step : 3);
        out += step ? step : 3;
        i += step ? step : 1;
    }
    put(into, key, clean ? cJSON_CreateString(clean) : NULL);
    at_free(clean);
}

// cJSON prints a number with 15 digits when that is nearly it; ours are to read back exactly.
static bool fix_numbers(cJSON *item)
{
    if (cJSON_IsNumber(item)) {
        char text[40];
        shortest(text, item->valuedouble);
        item->valuestring = at_strdup(text);
        if (!item->valuestring)
            return false;
        item->type = (item->type & ~0xff) | cJSON_Raw;
    }
    for (cJSON *c = item->child; c; c = c->next)
        if (!fix_numbers(c))
            return false;
    return true;
}

void at_json_put_copy(struct at_json into, const char *key, struct at_json value)
{
    cJSON *copy = value.item ? cJSON_Duplicate(value.item, true) : cJSON_CreateNull();
    if (copy && !fix_numbers(copy)) {
        cJSON_Delete(copy);
        copy = NULL;
    }
    put(into, key, copy);
}

bool at_json_complete(const struct at_json_doc *doc)
{
    return !doc->failed || at_fail(doc->log, AT_ERROR_DEVICE, "out of host memory while making JSON");
}

char *at_json_text(struct at_json_doc *doc, bool pretty)
{
    char *text = doc->failed ? NULL : pretty ? cJSON_Print(doc->root) : cJSON_PrintUnformatted(doc->root);
    if (!text)
        at_fail(doc->log, AT_ERROR_DEVICE, "out of host memory while writing JSON");
    return text;
}

bool at_json_save(struct at_json_doc *doc, const char *path, bool pretty)
{
    char *text = at_json_text(doc, pretty);
    if (!text)
        return false;
    struct at_file_writer *w = at_file_writer_create(doc->log, path);
    bool ok =
        w && at_file_writer_put(w, text, strlen(text)) && at_file_writer_put(w, "\n", 1) && at_file_writer_commit(w);
    at_file_writer_destroy(&w);
    at_free(text);
    return ok;
}
