// SPDX-License-Identifier: Apache-2.0
// Time that only goes forward, for how long things take.
#ifndef CORE_BASE_CLOCK_H
#define CORE_BASE_CLOCK_H

// Seconds since some moment before the program began.
double at_clock(void);
// Seconds that processors have worked for the program, in all its threads: what other programs do hardly counts.
double at_clock_processor(void);

#endif
