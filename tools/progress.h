// SPDX-License-Identifier: Apache-2.0
// How far a long job is, on stderr: one line that is redrawn on a terminal; elsewhere a plain line for the first news,
// then one every few seconds, and the last.
//
//     at_progress_begin(&p, "sampling", "image", quiet);
//     at_progress_update(&p, 3, 40, NULL);   // as often as wanted
//     at_progress_end(&p);
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

struct at_progress {
    const char *what, *unit; // "sampling", "image"; unit NULL: a share, shown in percent
    bool active, terminal;
    bool drawn;          // the terminal shows it
    char waiting[512];   // text that has not been shown; "" if there is none
    double began, shown; // seconds of a clock; the speed is counted from the first update on
    double first;        // work that was done by then
    bool started, told;
};

void at_progress_begin(struct at_progress *p, const char *what, const char *unit, bool quiet);
// `extra`: such as "loss 0.693"; NULL: nothing.
void at_progress_update(struct at_progress *p, double done, double total, const char *extra);
void at_progress_end(struct at_progress *p);
// Takes the line away, so that a message can be written; the next update draws it again.
void at_progress_hide(struct at_progress *p);

// The text of a line: "sampling 3/40 images, 2.5 images/s, 15 s left, EXTRA". rate 0: not known yet.
void at_progress_text(char *text, size_t bytes, const struct at_progress *p, double done, double total, double rate,
                      const char *extra);

#endif
