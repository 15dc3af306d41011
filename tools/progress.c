// SPDX-License-Identifier: Apache-2.0
#include "tools/progress.h"

#include "core/base/clock.h"
#include "tools/cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1
#define PLAIN_SECONDS 5.0

void at_progress_begin(struct at_progress *p, const char *what, const char *unit, bool quiet)
{
    at_signals_watch();
    *p = (struct at_progress){.what = what, .unit = unit, .active = !quiet, .terminal = isatty(STDERR_FILENO) == 1};
    p->began = p->shown = at_clock();
}

static void duration(char *text, size_t bytes, double seconds)
{
    if (seconds < 100)
        snprintf(text, bytes, "%.0f s", ceil(seconds));
    else if (seconds < 3600)
        snprintf(text, bytes, "%d min %02d s", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(text, bytes, "%.0f h %02d min", floor(seconds / 3600), (int)(fmod(seconds, 3600) / 60));
}

void at_progress_text(char *text, size_t bytes, const struct at_progress *p, double done, double total, double rate,
                      const char *extra)
{
    char speed[64] = "", left[64] = "", span[32], count[64];
    if (p->unit)
        snprintf(count, sizeof(count), "%.0f/%.0f %ss", floor(done + 1e-6), total, p->unit);
    else
        snprintf(count, sizeof(count), "%.0f%%", floor(100 * done / total + 1e-6));
    if (p->unit && rate >= 1)
        snprintf(speed, sizeof(speed), ", %.1f %ss/s", rate, p->unit);
    else if (p->unit && rate > 0)
        snprintf(speed, sizeof(speed), ", %.1f s/%s", 1 / rate, p->unit);
    if (rate > 0 && done < total) {
        duration(span, sizeof(span), (total - done) / rate);
        snprintf(left, sizeof(left), ", %s left", span);
    }
    snprintf(text, bytes, "%s %s%s%s%s%s", p->what, count, speed, left, extra ? ", " : "", extra ? extra : "");
}

// Cuts the text to the terminal's width, at the start of a character.
static void fit(char *text)
{
    struct winsize size;
    size_t width = 80;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 8)
        width = size.ws_col;
    if (strlen(text) < width)
        return;
    size_t n = width - 1;
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    text[n] = '\0';
}

static void show(struct at_progress *p, double time)
{
    p->shown = time;
    if (p->terminal) {
        fit(p->waiting);
        fprintf(stderr, "\r%s\033[K", p->waiting);
        fflush(stderr);
        p->drawn = true;
    } else {
        fprintf(stderr, "%s\n", p->waiting);
    }
    p->waiting[0] = '\0';
}

void at_progress_update(struct at_progress *p, double done, double total, const char *extra)
{
    if (!p->active)
        return;
    double time = at_clock(), wait = p->terminal ? REDRAW_SECONDS : PLAIN_SECONDS;
    bool first = !p->started;
    if (first) {
        p->started = true;
        p->first = done; // of a resumed run, or after what comes before the work: neither counts for the speed
        p->began = time;
    }
    double work = done - p->first, spent = time - p->began;
    at_progress_text(p->waiting, sizeof(p->waiting), p, done, total, work > 0 && spent > 0 ? work / spent : 0, extra);
    bool news = p->terminal ? first : !p->told && done >= 1; // a plain line says that something has been done
    p->told = p->told || news;
    if (news || time - p->shown >= wait)
        show(p, time);
}

void at_progress_hide(struct at_progress *p)
{
    if (!p->drawn)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    p->drawn = false;
}

void at_progress_end(struct at_progress *p)
{
    if (p->active && p->waiting[0] && !p->terminal)
        show(p, at_clock());
    at_progress_hide(p);
    p->active = false;
}
