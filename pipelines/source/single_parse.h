// SPDX-License-Identifier: Apache-2.0
// Walking along a name, for single_names.c and single_original.c alone.
#ifndef PIPELINES_SOURCE_SINGLE_PARSE_H
#define PIPELINES_SOURCE_SINGLE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct rename {
    const char *from, *to;
};

// Whether *name begins so; it then goes on behind.
static inline bool take(const char **name, const char *start)
{
    size_t n = strlen(start);
    bool yes = strncmp(*name, start, n) == 0;
    *name += yes ? n : 0;
    return yes;
}

// "12." at the start of *name, below `limit`.
static inline bool take_number(const char **name, int limit, int *number)
{
    const char *p = *name;
    int n = 0;
    while (*p >= '0' && *p <= '9' && n < limit)
        n = 10 * n + (*p++ - '0');
    if (p == *name || *p != '.' || n >= limit)
        return false;
    *number = n;
    *name = p + 1;
    return true;
}

// The first that *name begins with; *name goes on behind.
static inline const char *renamed(const char **name, const struct rename *table, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (take(name, table[i].from))
            return table[i].to;
    return NULL;
}

#define RENAMED(name, table) renamed((name), (table), sizeof(table) / sizeof(*(table)))

#endif
