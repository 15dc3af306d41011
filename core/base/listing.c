// SPDX-License-Identifier: Apache-2.0
#include "core/base/listing.h"

#include <stdarg.h>
#include <stdio.h>

#define LISTED 12 // names in one message

static void put(struct at_listing *l, const char *fmt, va_list args)
{
    if (l->used >= sizeof(l->text))
        return;
    int n = vsnprintf(l->text + l->used, sizeof(l->text) - l->used, fmt, args);
    l->used += n > 0 ? (size_t)n : 0;
}

AT_PRINTF(2, 3) static void put_text(struct at_listing *l, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    put(l, fmt, args);
    va_end(args);
}

void at_listing_add(struct at_listing *l, const char *name)
{
    if (l->count++ < LISTED)
        put_text(l, "\n  %s", name);
}

void at_listing_tell(struct at_listing *l, const char *name, const char *detail, ...)
{
    at_listing_add(l, name);
    if (l->count > LISTED)
        return;
    va_list args;
    va_start(args, detail);
    put(l, detail, args);
    va_end(args);
}

bool at_listing_report(const struct at_listing *l, struct at_log *log, enum at_error kind, const char *fmt, ...)
{
    if (!l->count)
        return true;
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return at_fail(log, kind, "%s:%s%s", text, l->text, l->count > LISTED ? "\n  ..." : "");
}

void at_listing_warn(const struct at_listing *l, struct at_log *log, const char *fmt, ...)
{
    if (!l->count)
        return;
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    at_warn(log, "%s:%s%s", text, l->text, l->count > LISTED ? "\n  ..." : "");
}
