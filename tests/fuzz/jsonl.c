// SPDX-License-Identifier: Apache-2.0
#include "core/io/jsonl.h"
#include "tests/fuzz/target.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct at_json row;
    const char *text;
    enum at_jsonl_step step;
    size_t line = 0;
    struct at_jsonl *lines = at_jsonl_parse(NULL, "fuzz", data, size);
    while (lines && (step = at_jsonl_next(lines, &row)) != AT_JSONL_END) {
        if (at_jsonl_line(lines) <= line || (step == AT_JSONL_ROW && !at_json_is_object(row)))
            abort();
        line = at_jsonl_line(lines);
        if (step == AT_JSONL_ROW && at_json_str(row, "prompt", "", &text) && !text)
            abort();
    }
    at_jsonl_destroy(&lines);
    return 0;
}
