// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define LARGE (4 * HUGE_PAGE) // from here on, blocks ask for huge pages: rows that lie far apart cost fewer page walks

static atomic_size_t countdown; // 0: no fault planned
static atomic_bool persist, happened;

static bool fault(void)
{
    size_t left = atomic_load(&countdown);
    if (left == 0)
        return false;
    if (left > 1) {
        atomic_fetch_sub(&countdown, 1);
        return false;
    }
    if (!atomic_load(&persist))
        atomic_store(&countdown, 0);
    atomic_store(&happened, true);
    return true;
}

void at_alloc_fail_at(size_t n, bool persistent)
{
    atomic_store(&persist, persistent);
    atomic_store(&happened, false);
    atomic_store(&countdown, n);
}

bool at_alloc_failed(void)
{
    return atomic_load(&happened);
}

static atomic_size_t used, most;

static void count(size_t bytes)
{
    size_t now = atomic_fetch_add(&used, bytes) + bytes, before = atomic_load(&most);
    while (now > before && !atomic_compare_exchange_weak(&most, &before, now))
        ;
}

static void *counted(void *block)
{
    if (block)
        count(malloc_usable_size(block));
    return block;
}

void at_alloc_assume(size_t bytes)
{
    count(bytes);
}

void at_alloc_assume_end(size_t bytes)
{
    atomic_fetch_sub(&used, bytes);
}

size_t at_alloc_peak(void)
{
    return atomic_load(&most);
}

void *at_calloc(size_t n, size_t size)
{
    if (fault())
        return NULL;
    return counted(calloc(n ? n : 1, size ? size : 1));
}

void *at_calloc_aligned(size_t n, size_t size)
{
    if (fault() || (size && n > (SIZE_MAX - 64) / size))
        return NULL;
    size_t grain = n * size >= LARGE ? HUGE_PAGE : 64, bytes = (n * size + 63) & ~(size_t)63;
    void *block = aligned_alloc(grain, bytes ? bytes : 64);
#ifdef MADV_HUGEPAGE
    if (block && grain == HUGE_PAGE)
        (void)madvise(block, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); // a wish
#endif
    if (block)
        memset(block, 0, bytes ? bytes : 64);
    return counted(block);
}

void *at_realloc(void *block, size_t n, size_t size)
{
    if (fault() || (size && n > SIZE_MAX / size))
        return NULL;
    size_t bytes = n * size, before = block ? malloc_usable_size(block) : 0;
    void *grown = realloc(block, bytes > 0 ? bytes : 1);
    if (grown)
        atomic_fetch_sub(&used, before);
    return counted(grown);
}

char *at_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = at_calloc(n, 1);
    return copy ? memcpy(copy, text, n) : NULL;
}

char *at_strf(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = n < 0 ? NULL : at_calloc((size_t)n + 1, 1);
    if (!text)
        return NULL;
    va_start(args, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, args);
    va_end(args);
    return text;
}

void at_free(void *block)
{
    if (block)
        atomic_fetch_sub(&used, malloc_usable_size(block));
    free(block);
}

bool at_grow(void **items, size_t *capacity, size_t need, size_t size)
{
    if (need <= *capacity)
        return true;
    size_t next = *capacity ? *capacity : 8;
    while (next < need) {
        if (next > SIZE_MAX / 2)
            return false;
        next *= 2;
    }
    void *grown = at_realloc(*items, next, size);
    if (!grown)
        return false;
    *items = grown;
    *capacity = next;
    return true;
}
