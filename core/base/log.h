// SPDX-License-Identifier: Apache-2.0
// Messages and the kind of the first failure. Libraries log and return; only tools/ print or exit.
#ifndef CORE_BASE_LOG_H
#define CORE_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

// What a failure means to the caller of the program; the values are its exit codes.
enum at_error {
    AT_ERROR_NONE = 0,
    AT_ERROR_FAILED = 1,       // the work could not be done
    AT_ERROR_USAGE = 2,        // the command line is wrong
    AT_ERROR_INPUT = 3,        // a file or value given by the user is wrong
    AT_ERROR_DEVICE = 4,       // device lost, missing or out of memory
    AT_ERROR_INTERRUPTED = 130 // stopped by the user, state saved
};

enum at_level {
    AT_LEVEL_ERROR, // the operation failed
    AT_LEVEL_WARN,  // it goes on, but the result may surprise
    AT_LEVEL_INFO,  // what a user wants to know
    AT_LEVEL_DEBUG, // what a developer wants to know
};

// Travels by pointer inside every object; NULL is a silent log. Not thread-safe: one log, one thread.
struct at_log {
    enum at_level level; // messages above it are dropped
    enum at_error error; // kind of the first failure since it was last cleared
    void (*write)(void *priv, enum at_level level, const char *text); // NULL: stderr
    void *priv;
};

// A `write` that drops all messages: what is left is the kind of the first failure.
void at_log_drop(void *priv, enum at_level level, const char *text);

#define AT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define AT_NODISCARD __attribute__((warn_unused_result))

// One message, without a newline at its end.
AT_PRINTF(3, 4) void at_log_write(struct at_log *log, enum at_level level, const char *fmt, ...);

// Logs an error, remembers its kind if it is the first, and returns false, so that an action can end with it.
// The text says what, where (file, line or field) and what to do.
AT_PRINTF(3, 4) bool at_fail(struct at_log *log, enum at_error kind, const char *fmt, ...);

#define at_warn(log, ...) at_log_write((log), AT_LEVEL_WARN, __VA_ARGS__)
#define at_info(log, ...) at_log_write((log), AT_LEVEL_INFO, __VA_ARGS__)
#define at_debug(log, ...) at_log_write((log), AT_LEVEL_DEBUG, __VA_ARGS__)

// Out of host memory: the one failure that has no better words.
bool at_fail_memory(struct at_log *log, size_t bytes);
// The end of a job that failed: if nothing has said why, a small allocation did, and this says it. Returns false.
bool at_fail_unsaid(struct at_log *log);

#endif
