// SPDX-License-Identifier: Apache-2.0
// Reads a golden file (JSON) of tests/golden/data. A test that needs one fails without it.
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include "tests/harness.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

// The parsed file; the caller deletes it with cJSON_Delete.
static inline cJSON *at_golden_load(const char *name)
{
    const char *dir = getenv("AT_TEST_GOLDEN");
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", dir ? dir : "tests/golden/data", name);
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 1 << 22);
    cJSON *root = NULL;
    if (file && text)
        root = cJSON_ParseWithLength(text, fread(text, 1, 1 << 22, file));
    free(text);
    if (file)
        fclose(file);
    if (!AT_CHECK(root != NULL))
        printf("cannot read %s\n", path);
    return root;
}

static inline double at_golden_at(const cJSON *array, int i)
{
    const cJSON *item = cJSON_GetArrayItem(array, i);
    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

#endif
