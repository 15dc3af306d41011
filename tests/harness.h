// SPDX-License-Identifier: Apache-2.0
// The smallest test harness: checks print both values, a test's exit status is the verdict, 77 means skipped.
//
//     static void adds(void) { AT_CHECK_INT(1 + 1, 2); }
//     int main(void) { AT_RUN(adds); return at_test_end(); }
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define AT_SKIP 77

static int at_test_failures;
static const char *at_test_name = "";

static inline bool at_test_report(bool ok, const char *file, int line, const char *what)
{
    if (!ok) {
        at_test_failures++;
        printf("FAIL %s (%s:%d): %s\n", at_test_name, file, line, what);
    }
    return ok;
}

#define AT_CHECK(cond) at_test_report((cond), __FILE__, __LINE__, #cond)

#define AT_CHECK_INT(a, b)                                                                                             \
    do {                                                                                                               \
        long long at_a = (long long)(a), at_b = (long long)(b);                                                        \
        char at_text[256];                                                                                             \
        snprintf(at_text, sizeof(at_text), "%s is %lld, expected %lld", #a, at_a, at_b);                               \
        at_test_report(at_a == at_b, __FILE__, __LINE__, at_text);                                                     \
    } while (0)

#define AT_CHECK_NEAR(a, b, tolerance)                                                                                 \
    do {                                                                                                               \
        double at_a = (double)(a), at_b = (double)(b);                                                                 \
        char at_text[256];                                                                                             \
        snprintf(at_text, sizeof(at_text), "%s is %.9g, expected %.9g", #a, at_a, at_b);                               \
        at_test_report(fabs(at_a - at_b) <= (double)(tolerance), __FILE__, __LINE__, at_text);                         \
    } while (0)

#define AT_CHECK_STR(a, b)                                                                                             \
    do {                                                                                                               \
        const char *at_a = (a), *at_b = (b);                                                                           \
        char at_text[1024];                                                                                            \
        snprintf(at_text, sizeof(at_text), "%s is \"%s\", expected \"%s\"", #a, at_a ? at_a : "NULL", at_b);           \
        at_test_report(at_a && strcmp(at_a, at_b) == 0, __FILE__, __LINE__, at_text);                                  \
    } while (0)

#define AT_RUN(fn)                                                                                                     \
    do {                                                                                                               \
        at_test_name = #fn;                                                                                            \
        fn();                                                                                                          \
    } while (0)

static inline int at_test_end(void)
{
    printf("%d failure(s)\n", at_test_failures);
    return at_test_failures ? 1 : 0;
}

#endif
