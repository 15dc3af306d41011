// SPDX-License-Identifier: Apache-2.0
#include "core/base/arena.h"

#include "core/base/alloc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#define BLOCK_BYTES ((size_t)64 * 1024)

struct block {
    struct block *next;
    size_t used, size;
    _Alignas(16) unsigned char data[];
};

struct at_arena {
    struct block *head;
};

struct at_arena *at_arena_create(void)
{
    return at_calloc(1, sizeof(struct at_arena));
}

void at_arena_destroy(struct at_arena **arena)
{
    if (!*arena)
        return;
    for (struct block *b = (*arena)->head, *next; b; b = next) {
        next = b->next;
        at_free(b);
    }
    at_free(*arena);
    *arena = NULL;
}

void *at_arena_alloc(struct at_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX - 16 - sizeof(struct block))
        return NULL;
    bytes = (bytes + 15) & ~(size_t)15;
    struct block *b = arena->head;
    if (!b || b->size - b->used < bytes) {
        size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        b = at_calloc(1, sizeof(*b) + size);
        if (!b)
            return NULL;
        b->size = size;
        b->next = arena->head;
        arena->head = b;
    }
    void *p = b->data + b->used;
    b->used += bytes;
    return p;
}

char *at_arena_strf(struct at_arena *arena, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = n < 0 ? NULL : at_arena_alloc(arena, (size_t)n + 1);
    if (!text)
        return NULL;
    va_start(args, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, args);
    va_end(args);
    return text;
}
