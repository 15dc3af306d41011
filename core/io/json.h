// SPDX-License-Identifier: Apache-2.0
// JSON: reading with errors that name file and field, and writing. A thin layer over cJSON.
//
//     struct at_json_doc *doc = at_json_load(log, "unet/config.json");
//     int heads;
//     bool ok = doc && at_json_int(at_json_root(doc), "attention_head_dim", 8, 1, 1024, &heads);
//     at_json_destroy(&doc);
#ifndef CORE_IO_JSON_H
#define CORE_IO_JSON_H

#include "core/base/log.h"

#include <stdint.h>

struct cJSON;
struct at_json_doc; // owns the values; its log must outlive it

// One value in a document, by value; item is NULL where there is none. Valid as long as the document.
struct at_json {
    struct at_json_doc *doc;
    const struct cJSON *item;
};

// What is accepted; 0 = the default.
struct at_json_limits {
    size_t bytes;  // 64 MiB
    size_t values; // 8,000,000 (each costs 64 bytes and its text)
    int depth;     // 64
};

// Parses untrusted bytes; `name` (a file, or file:line) stands in every message. Refused besides bad syntax: keys that
// occur twice in an object, text that is not UTF-8, \u0000. Accepted besides JSON: Infinity, -Infinity. NULL on failure, with line and column in the log.
struct at_json_doc *at_json_parse(struct at_log *log, const char *name, const void *bytes, size_t size,
                                  const struct at_json_limits *limits);
struct at_json_doc *at_json_load(struct at_log *log, const char *path); // default limits
// Frees it and sets *doc to NULL; a pointer to NULL is fine.
void at_json_destroy(struct at_json_doc **doc);
struct at_json at_json_root(struct at_json_doc *doc);

// Looking around. All of them accept an absent value. Lookups walk a list: go through big objects with first and next.
bool at_json_present(struct at_json value); // there and not null
bool at_json_is_object(struct at_json value);
bool at_json_is_array(struct at_json value);
bool at_json_is_string(struct at_json value);
bool at_json_is_number(struct at_json value);
bool at_json_is_infinite(struct at_json value); // a number beyond double, or Python's Infinity and -Infinity
struct at_json at_json_get(struct at_json object, const char *key);
struct at_json at_json_at(struct at_json array, size_t index);
size_t at_json_count(struct at_json value); // members or elements; 0 for anything else
struct at_json at_json_first(struct at_json value);
struct at_json at_json_next(struct at_json value);
const char *at_json_key(struct at_json value); // "" in an array

// "FILE: field "a.b[2]": TEXT" as an input error; returns false. For checks that only the caller knows.
AT_PRINTF(2, 3) bool at_json_fail(struct at_json value, const char *fmt, ...);

// Typed readings of a value that must be there; the wrong type fails with the field's name and what was found.
// Integers are exact: integral and at most 2^53 in size. Strings live as long as the document.
AT_NODISCARD bool at_json_as_bool(struct at_json value, bool *out);
AT_NODISCARD bool at_json_as_int(struct at_json value, int64_t min, int64_t max, int64_t *out);
AT_NODISCARD bool at_json_as_num(struct at_json value, double *out); // finite
AT_NODISCARD bool at_json_as_str(struct at_json value, const char **out);

// Members of an object. Absent or null gives the fallback; `need` fails instead.
AT_NODISCARD bool at_json_need(struct at_json object, const char *key, struct at_json *out);
AT_NODISCARD bool at_json_bool(struct at_json object, const char *key, bool fallback, bool *out);
AT_NODISCARD bool at_json_int(struct at_json object, const char *key, int fallback, int min, int max, int *out);
AT_NODISCARD bool at_json_i64(struct at_json object, const char *key, int64_t fallback, int64_t *out);
AT_NODISCARD bool at_json_num(struct at_json object, const char *key, double fallback, double *out);
AT_NODISCARD bool at_json_str(struct at_json object, const char *key, const char *fallback, const char **out);
// An array of at most `capacity` integers. Absent: *count stays as it is, and so does out.
AT_NODISCARD bool at_json_ints(struct at_json object, const char *key, int min, int max, int *out, size_t capacity,
                               size_t *count);
// As at_json_ints, for numbers.
AT_NODISCARD bool at_json_nums(struct at_json object, const char *key, double *out, size_t capacity, size_t *count);
// A string that must be one of `names` (NULL at the end); *out is its index. The message suggests the nearest.
AT_NODISCARD bool at_json_enum(struct at_json object, const char *key, const char *const *names, int fallback,
                               int *out);
// A member that must be an object (or array) if it is there; absent gives an absent value.
AT_NODISCARD bool at_json_object(struct at_json object, const char *key, struct at_json *out);
AT_NODISCARD bool at_json_array(struct at_json object, const char *key, struct at_json *out);
// Every key of the object must be in `allowed` (NULL at the end). Reports all that are not, with the nearest key.
AT_NODISCARD bool at_json_check_keys(struct at_json object, const char *const *allowed);

// Writing. Start from an empty object or array; put adds to an object under a copy of `key`, or to the end of an array
// when key is NULL. Failures (out of memory) are remembered and reported once by at_json_text, at_json_save or
// at_json_complete.
struct at_json_doc *at_json_create(struct at_log *log, bool array);
struct at_json at_json_put_object(struct at_json into, const char *key);
struct at_json at_json_put_array(struct at_json into, const char *key);
void at_json_put_bool(struct at_json into, const char *key, bool value);
void at_json_put_int(struct at_json into, const char *key, int64_t value);
// The shortest text that reads back as the same double (float). Not finite: null.
void at_json_put_num(struct at_json into, const char *key, double value);
void at_json_put_float(struct at_json into, const char *key, float value);
// Bytes that are not UTF-8 become U+FFFD; NULL becomes null.
void at_json_put_str(struct at_json into, const char *key, const char *text);
// A deep copy of any value.
void at_json_put_copy(struct at_json into, const char *key, struct at_json value);
// Text with or without line breaks and indentation; the caller frees it with at_free. NULL on failure.
char *at_json_text(struct at_json_doc *doc, bool pretty);
// Whether nothing was lost on the way: for a document that is only read.
AT_NODISCARD bool at_json_complete(const struct at_json_doc *doc);
// Replaces the file `path`, with a newline at its end.
AT_NODISCARD bool at_json_save(struct at_json_doc *doc, const char *path, bool pretty);

#endif
