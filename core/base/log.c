// SPDX-License-Identifier: Apache-2.0
#include "core/base/log.h"

#include <stdarg.h>
#include <stdio.h>

static void emit(struct at_log *log, enum at_level level, const char *fmt, va_list args)
{
    char text[2048];
    vsnprintf(text, sizeof(text), fmt, args);
    if (log->write) {
        log->write(log->priv, level, text);
        return;
    }
    static const char *const label[] = {"error: ", "warning: ", "", "debug: "};
    fprintf(stderr, "%s%s\n", label[level], text);
}

void at_log_write(struct at_log *log, enum at_level level, const char *fmt, ...)
{
    if (!log || level > log->level)
        return;
    va_list args;
    va_start(args, fmt);
    emit(log, level, fmt, args);
    va_end(args);
}

bool at_fail(struct at_log *log, enum at_error kind, const char *fmt, ...)
{
    if (!log)
        return false;
    if (log->error == AT_ERROR_NONE)
        log->error = kind;
    va_list args;
    va_start(args, fmt);
    emit(log, AT_LEVEL_ERROR, fmt, args);
    va_end(args);
    return false;
}

bool at_fail_memory(struct at_log *log, size_t bytes)
{
    return at_fail(log, AT_ERROR_DEVICE, "out of host memory (%zu bytes asked for)", bytes);
}

bool at_fail_unsaid(struct at_log *log)
{
    if (log && log->error == AT_ERROR_NONE)
        at_fail(log, AT_ERROR_DEVICE, "out of host memory");
    return false;
}

void at_log_drop(void *priv, enum at_level level, const char *text)
{
    (void)priv;
    (void)level;
    (void)text;
}
