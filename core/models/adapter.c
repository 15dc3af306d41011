// SPDX-License-Identifier: Apache-2.0
#include "core/models/adapter.h"

#include "core/base/alloc.h"

#include <string.h>

bool at_adapter_add(struct at_adapter *a, const char *name, int rank, float alpha)
{
    char *copy = at_strdup(name);
    if (!copy || !at_grow((void **)&a->layers, &a->capacity, (size_t)a->count + 1, sizeof(*a->layers))) {
        at_free(copy);
        return at_fail_memory(a->params->log, sizeof(*a->layers));
    }
    a->layers[a->count++] = (struct at_adapter_layer){copy, rank, alpha};
    return at_index_add(&a->index, a->layers, sizeof(*a->layers), a->count) ||
           at_fail_memory(a->params->log, sizeof(*a->layers));
}

bool at_adapter_targeted(const char *name, const char *const *targets)
{
    size_t n = strlen(name);
    for (const char *const *t = targets; *t; t++) {
        size_t m = strlen(*t);
        if (n == m ? strcmp(name, *t) == 0 : n > m && name[n - m - 1] == '.' && strcmp(name + n - m, *t) == 0)
            return true;
    }
    return false;
}

const struct at_adapter_layer *at_adapter_find(const struct at_adapter *a, const char *name)
{
    int i = at_index_find(&a->index, a->layers, sizeof(*a->layers), name);
    return i < 0 ? NULL : &a->layers[i];
}

void at_adapter_finish(struct at_adapter *a)
{
    for (int i = 0; i < a->count; i++)
        at_free(a->layers[i].name);
    at_free(a->layers);
    at_index_finish(&a->index);
    *a = (struct at_adapter){0};
}
