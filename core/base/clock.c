// SPDX-License-Identifier: Apache-2.0
#include "core/base/clock.h"

#include <time.h>

static double read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double at_clock(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

double at_clock_processor(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}
