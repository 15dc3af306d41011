// SPDX-License-Identifier: Apache-2.0
// Typed readings: the second part of core/io/json.h.
#include "core/io/json.h"

#include "core/base/suggest.h"
#include "core/io/json_doc.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define EXACT 9007199254740992.0 // 2^53: up to here every integer is a double

static bool fail_type(struct at_json v, const char *expected)
{
    const cJSON *c = v.item;
    char found[64] = "nothing";
    if (cJSON_IsString(c)) {
        bool literal = strcasecmp(c->valuestring, "true") == 0 || strcasecmp(c->valuestring, "false") == 0;
        return at_json_fail(v, "expected %s, found the string \"%.60s\"%s", expected, c->valuestring,
                            literal ? "; write it in lower case and without quotes" : "");
    }
    if (cJSON_IsNumber(c))
        snprintf(found, sizeof(found), "the number %.17g", c->valuedouble);
    else if (c)
        snprintf(found, sizeof(found), "%s",
                 cJSON_IsBool(c)     ? (cJSON_IsTrue(c) ? "true" : "false")
                 : cJSON_IsArray(c)  ? "an array"
                 : cJSON_IsObject(c) ? "an object"
                                     : "null");
    return at_json_fail(v, "expected %s, found %s", expected, found);
}

bool at_json_as_bool(struct at_json v, bool *out)
{
    if (!cJSON_IsBool(v.item))
        return fail_type(v, "true or false");
    *out = cJSON_IsTrue(v.item);
    return true;
}

bool at_json_as_int(struct at_json v, int64_t min, int64_t max, int64_t *out)
{
    if (!cJSON_IsNumber(v.item))
        return fail_type(v, "an integer");
    double x = v.item->valuedouble;
    if (!(fabs(x) <= EXACT) || x != floor(x))
        return fail_type(v, "an integer of at most 2^53");
    if ((int64_t)x < min || (int64_t)x > max) {
        char range[96];
        snprintf(range, sizeof(range), "an integer from %" PRId64 " to %" PRId64, min, max);
        return fail_type(v, range);
    }
    *out = (int64_t)x;
    return true;
}

bool at_json_as_num(struct at_json v, double *out)
{
    if (!cJSON_IsNumber(v.item) || !isfinite(v.item->valuedouble))
        return fail_type(v, "a number");
    *out = v.item->valuedouble;
    return true;
}

bool at_json_as_str(struct at_json v, const char **out)
{
    if (!cJSON_IsString(v.item))
        return fail_type(v, "a string");
    *out = v.item->valuestring;
    return true;
}

bool at_json_need(struct at_json object, const char *key, struct at_json *out)
{
    *out = at_json_get(object, key);
    return at_json_present(*out) || at_json_fail(object, "the field \"%s\" is missing", key);
}

bool at_json_bool(struct at_json object, const char *key, bool fallback, bool *out)
{
    struct at_json v = at_json_get(object, key);
    *out = fallback;
    return !at_json_present(v) || at_json_as_bool(v, out);
}

bool at_json_int(struct at_json object, const char *key, int fallback, int min, int max, int *out)
{
    struct at_json v = at_json_get(object, key);
    int64_t x = fallback;
    bool ok = !at_json_present(v) || at_json_as_int(v, min, max, &x);
    *out = (int)x;
    return ok;
}

bool at_json_i64(struct at_json object, const char *key, int64_t fallback, int64_t *out)
{
    struct at_json v = at_json_get(object, key);
    *out = fallback;
    return !at_json_present(v) || at_json_as_int(v, INT64_MIN, INT64_MAX, out);
}

bool at_json_num(struct at_json object, const char *key, double fallback, double *out)
{
    struct at_json v = at_json_get(object, key);
    *out = fallback;
    return !at_json_present(v) || at_json_as_num(v, out);
}

bool at_json_str(struct at_json object, const char *key, const char *fallback, const char **out)
{
    struct at_json v = at_json_get(object, key);
    *out = fallback;
    return !at_json_present(v) || at_json_as_str(v, out);
}

bool at_json_object(struct at_json object, const char *key, struct at_json *out)
{
    *out = at_json_get(object, key);
    if (at_json_present(*out))
        return cJSON_IsObject(out->item) || fail_type(*out, "an object");
    out->item = NULL;
    return true;
}

bool at_json_array(struct at_json object, const char *key, struct at_json *out)
{
    *out = at_json_get(object, key);
    if (at_json_present(*out))
        return cJSON_IsArray(out->item) || fail_type(*out, "an array");
    out->item = NULL;
    return true;
}

static bool short_array(struct at_json object, const char *key, size_t capacity, struct at_json *out, size_t *count)
{
    if (!at_json_array(object, key, out))
        return false;
    size_t n = at_json_count(*out);
    if (n > capacity)
        return at_json_fail(*out, "%zu elements; at most %zu are accepted", n, capacity);
    if (out->item)
        *count = n;
    return true;
}

bool at_json_ints(struct at_json object, const char *key, int min, int max, int *out, size_t capacity, size_t *count)
{
    struct at_json array;
    if (!short_array(object, key, capacity, &array, count))
        return false;
    for (struct at_json v = at_json_first(array); v.item; v = at_json_next(v)) {
        int64_t x;
        if (!at_json_as_int(v, min, max, &x))
            return false;
        *out++ = (int)x;
    }
    return true;
}

bool at_json_nums(struct at_json object, const char *key, double *out, size_t capacity, size_t *count)
{
    struct at_json array;
    if (!short_array(object, key, capacity, &array, count))
        return false;
    for (struct at_json v = at_json_first(array); v.item; v = at_json_next(v))
        if (!at_json_as_num(v, out++))
            return false;
    return true;
}

static size_t length_of(const char *const *names)
{
    size_t n = 0;
    while (names[n])
        n++;
    return n;
}

bool at_json_enum(struct at_json object, const char *key, const char *const *names, int fallback, int *out)
{
    const char *text = NULL;
    *out = fallback;
    if (!at_json_str(object, key, NULL, &text))
        return false;
    if (!text)
        return true;
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], text) == 0) {
            *out = i;
            return true;
        }
    }
    struct at_json v = at_json_get(object, key);
    const char *near = at_suggest(text, names, length_of(names));
    if (near)
        return at_json_fail(v, "\"%.60s\" is not known; did you mean \"%s\"?", text, near);
    char all[256] = "";
    for (size_t i = 0, used = 0; names[i] && used < sizeof(all); i++)
        used += (size_t)snprintf(all + used, sizeof(all) - used, "%s%s", i ? ", " : "", names[i]);
    return at_json_fail(v, "\"%.60s\" is not known; it must be one of: %s", text, all);
}

bool at_json_check_keys(struct at_json object, const char *const *allowed)
{
    bool ok = true;
    size_t n = length_of(allowed);
    for (struct at_json v = at_json_first(object); v.item; v = at_json_next(v)) {
        const char *key = at_json_key(v);
        size_t i = 0;
        while (i < n && strcmp(allowed[i], key) != 0)
            i++;
        if (i < n)
            continue;
        const char *near = at_suggest(key, allowed, n);
        ok = near ? at_json_fail(v, "unknown key; did you mean \"%s\"?", near)
                  : at_json_fail(v, "unknown key; remove it");
    }
    return ok;
}
