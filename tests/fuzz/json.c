// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"
#include "core/io/json.h"
#include "tests/fuzz/target.h"

#include <stdlib.h>
#include <string.h>

static void ignore(void *priv, enum at_level level, const char *text)
{
    (void)priv, (void)level, (void)text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"a", "bb", "steps", "seed", NULL};
    struct at_log log = {.write = ignore};
    struct at_json_doc *doc = at_json_parse(&log, "fuzz", data, size, NULL), *copy = at_json_create(&log, true);
    if (!doc != (log.error != AT_ERROR_NONE))
        abort(); // a failure without a word, or the other way round
    struct at_json root = at_json_root(doc);
    int number, list[4];
    size_t count = 0;
    bool good = at_json_check_keys(root, keys) && at_json_int(root, "a", 1, 0, 9, &number) &&
                at_json_enum(root, "bb", keys, 0, &number) && at_json_ints(root, "steps", 0, 9, list, 4, &count);
    if (good && count > 4)
        abort();
    at_json_put_copy(at_json_root(copy), NULL, root);
    char *text = at_json_text(copy, size % 2);
    struct at_json_doc *again = doc && text ? at_json_parse(NULL, "again", text, strlen(text), NULL) : NULL;
    if (doc && !strstr(text, "null") && !again && at_json_count(root))
        abort(); // what was accepted and written is not accepted
    at_free(text);
    at_json_destroy(&again);
    at_json_destroy(&copy);
    at_json_destroy(&doc);
    return 0;
}
