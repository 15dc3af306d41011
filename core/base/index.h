// SPDX-License-Identifier: Apache-2.0
// Finds the elements of an array by name. Every element begins with a `char *` or `const char *`: its name.
//
//     struct at_index index = {0};
//     list[count++].name = name;
//     ok = at_index_add(&index, list, sizeof(*list), count);       // the last one
//     int i = at_index_find(&index, list, sizeof(*list), "norm1"); // -1: none
//     at_index_finish(&index);
#ifndef CORE_BASE_INDEX_H
#define CORE_BASE_INDEX_H

#include <stdbool.h>
#include <stddef.h>

struct at_index {
    int *slots; // position + 1, 0 = free
    int buckets;
};

// Takes in element count - 1 of an array whose earlier elements are in it. False: no memory.
bool at_index_add(struct at_index *index, const void *list, size_t size, int count);
// The position of the element of this name that was added first, or -1.
int at_index_find(const struct at_index *index, const void *list, size_t size, const char *name);
void at_index_finish(struct at_index *index);

#endif
