// SPDX-License-Identifier: Apache-2.0
// Host memory. Every allocation of the library goes through here, so that tests can make the n-th one fail.
#ifndef CORE_BASE_ALLOC_H
#define CORE_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

// Zeroed memory for n items of `size` bytes; NULL when there is none or n * size overflows. n = 0 gives a valid pointer.
void *at_calloc(size_t n, size_t size);
// Zeroed and aligned to 64 bytes, in huge pages if it is large and the system has them. Freed by at_free like the rest.
void *at_calloc_aligned(size_t n, size_t size);
// As realloc: on failure NULL, and the old block stands.
void *at_realloc(void *block, size_t n, size_t size);
char *at_strdup(const char *text);
// printf into fresh memory.
__attribute__((format(printf, 1, 2))) char *at_strf(const char *fmt, ...);
void at_free(void *block);

// Makes room for `need` items in a growable array of `size`-byte items: *items and *capacity are updated.
bool at_grow(void **items, size_t *capacity, size_t need, size_t size);

// The most bytes that were allocated here at a time; what libraries and drivers take for themselves is not among them.
size_t at_alloc_peak(void);
// Bytes that count as allocated although they come from elsewhere (host memory of a GPU), or would (forecasts).
void at_alloc_assume(size_t bytes);
void at_alloc_assume_end(size_t bytes);

// Makes the n-th allocation from now fail (1 = the next), and every later one too if `persistent`; 0 turns it off.
void at_alloc_fail_at(size_t n, bool persistent);
// Whether a failure asked for with at_alloc_fail_at has happened.
bool at_alloc_failed(void);

#endif
