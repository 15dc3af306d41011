// SPDX-License-Identifier: Apache-2.0
// Values of options: from text, from JSON, to JSON.
#include "tools/options_set.h"

#include "core/base/suggest.h"

#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EXACT (INT64_C(1) << 53) // as far as JSON numbers are exact

bool at_text_int(const char *text, int64_t *value)
{
    char *end;
    errno = 0;
    if (!isdigit((unsigned char)text[0]) && text[0] != '-' && text[0] != '+')
        return false;
    long long x = strtoll(text, &end, 10);
    *value = x;
    return end != text && *end == '\0' && errno == 0;
}

bool at_text_real(const char *text, double *value)
{
    char *end;
    if (!text[0] || isspace((unsigned char)text[0]) || strchr(text, 'x') || strchr(text, 'X'))
        return false;
    *value = strtod(text, &end);
    return *end == '\0' && isfinite(*value);
}

bool at_text_size(const char *text, size_t *bytes)
{
    char number[32];
    size_t n = strspn(text, "0123456789.");
    if (n == 0 || n >= sizeof(number))
        return false;
    memcpy(number, text, n);
    number[n] = '\0';
    double x, unit = 1;
    if (!at_text_real(number, &x))
        return false;
    const char *tail = text + n, *units = "KMG", *u = *tail ? strchr(units, toupper((unsigned char)*tail)) : NULL;
    if (u) {
        unit = pow(1024, (double)(u - units + 1));
        tail += tail[1] == 'i' && tail[2] == 'B' ? 3 : tail[1] == 'B' ? 2 : 1;
    }
    if (*tail || x * unit > (double)EXACT)
        return false;
    *bytes = (size_t)(x * unit);
    return true;
}

static bool is_whole(const struct at_option *option)
{
    return option->type == AT_OPTION_INT || option->type == AT_OPTION_I64 || option->type == AT_OPTION_SEED;
}

static void whole_range(const struct at_option *option, int64_t *min, int64_t *max)
{
    *min = option->type == AT_OPTION_INT ? INT_MIN : option->type == AT_OPTION_SEED ? 0 : -EXACT;
    *max = option->type == AT_OPTION_INT ? INT_MAX : EXACT;
    if (option->max > option->min) {
        *min = option->min > (double)*min ? (int64_t)option->min : *min;
        *max = option->max < (double)*max ? (int64_t)option->max : *max;
    }
}

static void set_whole(const struct at_option *option, int64_t x)
{
    if (option->type == AT_OPTION_INT)
        *(int *)option->target = (int)x;
    else if (option->type == AT_OPTION_I64)
        *(int64_t *)option->target = x;
    else
        *(uint64_t *)option->target = (uint64_t)x;
}

static int64_t get_whole(const struct at_option *option)
{
    return option->type == AT_OPTION_INT   ? *(const int *)option->target
           : option->type == AT_OPTION_I64 ? *(const int64_t *)option->target
                                           : (int64_t)*(const uint64_t *)option->target;
}

static void set_real(const struct at_option *option, double x)
{
    if (option->type == AT_OPTION_FLOAT)
        *(float *)option->target = (float)x;
    else
        *(double *)option->target = x;
}

static bool real_in_range(const struct at_option *option, double x)
{
    bool fits = option->type != AT_OPTION_FLOAT || fabs(x) <= (double)FLT_MAX;
    return fits && (option->max <= option->min || (x >= option->min && x <= option->max));
}

// "a number from 0 to 1", "a number of at least 0"
static void describe_real(const struct at_option *option, char *text, size_t bytes)
{
    if (option->max <= option->min)
        snprintf(text, bytes, "a number");
    else if (isinf(option->max))
        snprintf(text, bytes, "a number of at least %.9g", option->min);
    else
        snprintf(text, bytes, "a number from %.9g to %.9g", option->min, option->max);
}

static int find_choice(const struct at_option *option, const char *text, size_t *count)
{
    int found = -1;
    for (*count = 0; option->choices[*count]; ++*count)
        if (strcmp(option->choices[*count], text) == 0)
            found = (int)*count;
    return found;
}

static void list_choices(const struct at_option *option, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; option->choices[i] && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i ? ", " : "", option->choices[i]);
}

static bool choice_from_text(struct at_options *o, const struct at_option *option, const char *text)
{
    size_t count;
    int index = find_choice(option, text, &count);
    if (index < 0) {
        char all[256];
        const char *near = at_suggest(text, option->choices, count);
        list_choices(option, all, sizeof(all));
        return at_fail(o->log, AT_ERROR_USAGE, "--%s: \"%s\" is not one of %s%s%s%s", option->name, text, all,
                       near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    }
    *(int *)option->target = index;
    return true;
}

static bool flag_from_text(struct at_options *o, const struct at_option *option, const char *text, bool negated)
{
    bool yes = !text || strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0)
        return at_fail(o->log, AT_ERROR_USAGE, "--%s: \"%s\" is neither true nor false", option->name, text);
    *(bool *)option->target = yes != negated;
    return true;
}

static bool number_from_text(struct at_options *o, const struct at_option *option, const char *text)
{
    if (is_whole(option)) {
        int64_t x = 0, min, max;
        whole_range(option, &min, &max);
        if (!at_text_int(text, &x))
            return at_fail(o->log, AT_ERROR_USAGE, "--%s: \"%s\" is not a whole number", option->name, text);
        if (x < min || x > max)
            return at_fail(o->log, AT_ERROR_USAGE, "--%s: %s is out of range; give a whole number from %" PRId64
                           " to %" PRId64, option->name, text, min, max);
        set_whole(option, x);
        return true;
    }
    double x = 0;
    char expected[96];
    describe_real(option, expected, sizeof(expected));
    if (!at_text_real(text, &x))
        return at_fail(o->log, AT_ERROR_USAGE, "--%s: \"%s\" is not a number", option->name, text);
    if (!real_in_range(option, x))
        return at_fail(o->log, AT_ERROR_USAGE, "--%s: %s is out of range; give %s", option->name, text, expected);
    set_real(option, x);
    return true;
}

static bool size_from_text(struct at_options *o, const struct at_option *option, const char *text)
{
    return at_text_size(text, option->target) ||
           at_fail(o->log, AT_ERROR_USAGE, "--%s: \"%s\" is not a size; give bytes, or a number with K, M or G "
                   "such as 8G", option->name, text);
}

static bool size_from_json(const struct at_option *option, struct at_json value)
{
    int64_t x;
    const char *text;
    if (!at_json_is_string(value)) {
        if (!at_json_as_int(value, 0, EXACT, &x))
            return false;
        *(size_t *)option->target = (size_t)x;
        return true;
    }
    return at_json_as_str(value, &text) &&
           (at_text_size(text, option->target) ||
            at_json_fail(value, "\"%.60s\" is not a size; give bytes, or a number with K, M or G such as \"8G\"",
                         text));
}

bool at_option_from_text(struct at_options *o, const struct at_option *option, const char *text, bool negated)
{
    switch (option->type) {
    case AT_OPTION_FLAG:
        return flag_from_text(o, option, text, negated);
    case AT_OPTION_TEXT:
        if (!text[0] && !option->blank)
            return at_fail(o->log, AT_ERROR_USAGE, "--%s: the value is empty", option->name);
        *(const char **)option->target = text;
        return true;
    case AT_OPTION_CHOICE:
        return choice_from_text(o, option, text);
    case AT_OPTION_SIZE:
        return size_from_text(o, option, text);
    case AT_OPTION_LIST:
        return at_texts_add(option->target, text) || at_fail_memory(o->log, sizeof(char *));
    default:
        return number_from_text(o, option, text);
    }
}

static bool list_from_json(struct at_options *o, const struct at_option *option, struct at_json value)
{
    struct at_texts *texts = option->target;
    const char *text;
    texts->count = 0;
    if (at_json_is_string(value))
        return at_json_as_str(value, &text) && (at_texts_add(texts, text) || at_fail_memory(o->log, sizeof(char *)));
    if (!at_json_is_array(value))
        return at_json_fail(value, "expected a string or an array of strings");
    for (struct at_json v = at_json_first(value); v.item; v = at_json_next(v))
        if (!at_json_as_str(v, &text) || !at_texts_add(texts, text))
            return false;
    return true;
}

static bool choice_from_json(const struct at_option *option, struct at_json value)
{
    const char *text;
    size_t count;
    if (!at_json_as_str(value, &text))
        return false;
    int index = find_choice(option, text, &count);
    if (index < 0) {
        char all[256];
        list_choices(option, all, sizeof(all));
        return at_json_fail(value, "\"%.60s\" is not one of %s", text, all);
    }
    *(int *)option->target = index;
    return true;
}

static bool number_from_json(const struct at_option *option, struct at_json value)
{
    if (is_whole(option)) {
        int64_t x, min, max;
        whole_range(option, &min, &max);
        if (!at_json_as_int(value, min, max, &x))
            return false;
        set_whole(option, x);
        return true;
    }
    double x;
    char expected[96];
    describe_real(option, expected, sizeof(expected));
    if (!at_json_as_num(value, &x))
        return false;
    if (!real_in_range(option, x))
        return at_json_fail(value, "%g is out of range; give %s", x, expected);
    set_real(option, x);
    return true;
}

bool at_option_from_json(struct at_options *o, const struct at_option *option, struct at_json value)
{
    const char *text;
    switch (option->type) {
    case AT_OPTION_FLAG:
        return at_json_as_bool(value, option->target);
    case AT_OPTION_TEXT:
        if (!at_json_as_str(value, &text))
            return false;
        if (!text[0] && !option->blank)
            return at_json_fail(value, "the text is empty; leave the option out or give a value");
        *(const char **)option->target = text;
        return true;
    case AT_OPTION_CHOICE:
        return choice_from_json(option, value);
    case AT_OPTION_LIST:
        return list_from_json(o, option, value);
    case AT_OPTION_SIZE:
        return size_from_json(option, value);
    default:
        return number_from_json(option, value);
    }
}

bool at_option_is_zero(const struct at_option *option)
{
    switch (option->type) {
    case AT_OPTION_FLAG:
        return !*(const bool *)option->target;
    case AT_OPTION_TEXT:
        return !*(const char *const *)option->target;
    case AT_OPTION_LIST:
        return ((const struct at_texts *)option->target)->count == 0;
    case AT_OPTION_REAL:
        return *(const double *)option->target == 0;
    case AT_OPTION_FLOAT:
        return *(const float *)option->target == 0;
    case AT_OPTION_SIZE:
        return *(const size_t *)option->target == 0;
    case AT_OPTION_CHOICE:
        return false;
    default:
        return get_whole(option) == 0;
    }
}

static void put(struct at_json root, const struct at_option *option)
{
    switch (option->type) {
    case AT_OPTION_FLAG:
        at_json_put_bool(root, option->name, *(const bool *)option->target);
        break;
    case AT_OPTION_TEXT:
        at_json_put_str(root, option->name, *(const char *const *)option->target);
        break;
    case AT_OPTION_CHOICE:
        at_json_put_str(root, option->name, option->choices[*(const int *)option->target]);
        break;
    case AT_OPTION_REAL:
        at_json_put_num(root, option->name, *(const double *)option->target);
        break;
    case AT_OPTION_FLOAT:
        at_json_put_float(root, option->name, *(const float *)option->target);
        break;
    case AT_OPTION_SIZE:
        at_json_put_int(root, option->name, (int64_t)*(const size_t *)option->target);
        break;
    case AT_OPTION_LIST: {
        const struct at_texts *texts = option->target;
        struct at_json array = at_json_put_array(root, option->name);
        for (size_t i = 0; i < texts->count; i++)
            at_json_put_str(array, NULL, texts->items[i]);
        break;
    }
    default:
        at_json_put_int(root, option->name, get_whole(option));
    }
}

struct at_json_doc *at_options_json(const struct at_options *o)
{
    struct at_json_doc *doc = at_json_create(o->log, false);
    for (size_t i = 0; doc && i < o->count; i++) {
        const struct at_option *option = &o->list[i];
        bool absent = at_option_is_zero(option) && (option->zero || option->type == AT_OPTION_TEXT);
        if (!option->here && !absent)
            put(at_json_root(doc), option);
    }
    if (doc && !at_json_complete(doc))
        at_json_destroy(&doc);
    return doc;
}
