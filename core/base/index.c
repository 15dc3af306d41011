// SPDX-License-Identifier: Apache-2.0
#include "core/base/index.h"

#include "core/base/alloc.h"

#include <stdint.h>
#include <string.h>

static uint64_t hash(const char *name)
{
    uint64_t h = 1469598103934665603u; // FNV-1a
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 1099511628211u;
    return h;
}

static const char *name_of(const void *list, size_t size, int i)
{
    const char *name;
    memcpy(&name, (const char *)list + (size_t)i * size, sizeof(name));
    return name;
}

// The slot of `name`, or the free slot where it belongs.
static int *slot_of(const struct at_index *x, const void *list, size_t size, const char *name)
{
    size_t i = hash(name) % (size_t)x->buckets;
    while (x->slots[i] && strcmp(name_of(list, size, x->slots[i] - 1), name) != 0)
        i = (i + 1) % (size_t)x->buckets;
    return &x->slots[i];
}

bool at_index_add(struct at_index *x, const void *list, size_t size, int count)
{
    if (count * 2 > x->buckets) {
        int buckets = x->buckets ? x->buckets * 2 : 256;
        int *slots = at_calloc((size_t)buckets, sizeof(*slots));
        if (!slots)
            return false;
        at_free(x->slots);
        *x = (struct at_index){slots, buckets};
        for (int i = count - 2; i >= 0; i--)
            *slot_of(x, list, size, name_of(list, size, i)) = i + 1;
    }
    int *slot = slot_of(x, list, size, name_of(list, size, count - 1));
    if (!*slot)
        *slot = count;
    return true;
}

int at_index_find(const struct at_index *x, const void *list, size_t size, const char *name)
{
    return x->buckets ? *slot_of(x, list, size, name) - 1 : -1;
}

void at_index_finish(struct at_index *x)
{
    at_free(x->slots);
    *x = (struct at_index){0};
}
