// SPDX-License-Identifier: Apache-2.0
// A bump allocator: many small objects, one lifetime.
#ifndef CORE_BASE_ARENA_H
#define CORE_BASE_ARENA_H

#include <stddef.h>

struct at_arena; // created empty by at_arena_create, freed whole by at_arena_destroy

struct at_arena *at_arena_create(void);
// Frees everything that came from it and sets *arena to NULL; a pointer to NULL is fine.
void at_arena_destroy(struct at_arena **arena);
// Zeroed memory aligned to 16 bytes, or NULL.
void *at_arena_alloc(struct at_arena *arena, size_t bytes);
__attribute__((format(printf, 2, 3))) char *at_arena_strf(struct at_arena *arena, const char *fmt, ...);

#endif
