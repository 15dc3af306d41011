// SPDX-License-Identifier: Apache-2.0
// Inside core/io/json*.c only.
#ifndef CORE_IO_JSON_DOC_H
#define CORE_IO_JSON_DOC_H

#include "core/io/json.h"

#include <cjson/cJSON.h>

struct at_json_doc {
    struct at_log *log;
    char *name; // NULL in a document that is being written
    cJSON *root;
    bool failed; // a put ran out of memory
};

// Sends cJSON's allocations through core/base/alloc.h; call it before any other function of cJSON.
void at_json_use_alloc(void);

#endif
