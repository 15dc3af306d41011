// SPDX-License-Identifier: Apache-2.0
#include "tools/cli.h"

#include <signal.h>

static volatile sig_atomic_t interrupted;

static void note(int number)
{
    (void)number;
    interrupted = 1;
}

void at_signals_watch(void)
{
    static bool watched;
    if (watched)
        return;
    watched = true;
    struct sigaction action = {.sa_handler = note, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool at_interrupted(void)
{
    return interrupted;
}
