// SPDX-License-Identifier: Apache-2.0
// A log that keeps its last message, a folder for scratch files, and allocation faults one after the other.
#ifndef TESTS_UNIT_CAPTURE_H
#define TESTS_UNIT_CAPTURE_H

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "core/io/file.h"
#include "tests/harness.h"

#include <stdlib.h>
#include <unistd.h>

struct capture {
    struct at_log log;
    char text[512]; // the last message
    int messages;
};

static inline void capture_write(void *priv, enum at_level level, const char *text)
{
    struct capture *c = priv;
    (void)level;
    c->messages++;
    snprintf(c->text, sizeof(c->text), "%s", text);
}

static inline struct at_log *capture_start(struct capture *c)
{
    *c = (struct capture){.log = {.level = AT_LEVEL_WARN, .write = capture_write, .priv = c}};
    return &c->log;
}

// An input error with `part` in its message.
static inline bool capture_says(const struct capture *c, const char *part)
{
    bool ok = c->log.error == AT_ERROR_INPUT && strstr(c->text, part);
    if (!ok)
        printf("message \"%s\" (kind %d) lacks \"%s\"\n", c->text, (int)c->log.error, part);
    return ok;
}

static char scratch[64];

static inline void scratch_make(void)
{
    snprintf(scratch, sizeof(scratch), "/tmp/attune-test-XXXXXX");
    if (!mkdtemp(scratch))
        exit(AT_SKIP);
}

static inline const char *scratch_path(const char *name)
{
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", scratch, name);
    return path[turn];
}

static inline void scratch_remove(void)
{
    AT_CHECK(at_path_remove(NULL, scratch));
}

// Runs `work` with the first, second, ... allocation failing until it succeeds; it must fail cleanly before.
static inline void fail_each_allocation(bool (*work)(void))
{
    size_t n = 1;
    for (bool done = false; !done && n < 10000; n++) {
        at_alloc_fail_at(n, false);
        bool ok = work();
        done = !at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(ok == done);
    }
    AT_CHECK(n > 2 && n < 10000);
}

#endif
