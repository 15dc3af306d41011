// SPDX-License-Identifier: Apache-2.0
// Line charts as inline SVG.
#include "pipelines/eval/report_page.h"

#include <math.h>
#include <stdio.h>

#define WIDTH 720
#define HEIGHT 300
#define LEFT 64
#define RIGHT 16
#define TOP 12
#define BOTTOM 44
#define MAX_SERIES 8
#define STRETCHES 360 // each gives its lowest and highest point

struct range {
    double low, high;
};

static void include(struct range *r, double v)
{
    if (isfinite(v)) {
        r->low = fmin(r->low, v);
        r->high = fmax(r->high, v);
    }
}

// Widens a range that has no width, so that there is something to divide by. An empty one becomes 0 .. 1.
static void settle(struct range *r)
{
    if (r->low > r->high)
        *r = (struct range){0, 1};
    if (r->high - r->low <= 1e-12 * fmax(1, fabs(r->high))) {
        double by = fmax(0.5 * fabs(r->high), 0.5);
        r->low -= by;
        r->high += by;
    }
}

// 1, 2 or 5 times a power of ten, giving about `wanted` steps.
static double nice_step(const struct range *r, int wanted)
{
    double rough = (r->high - r->low) / wanted, power = pow(10, floor(log10(rough))), part = rough / power;
    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
}

static double to_x(const struct range *r, double v)
{
    return LEFT + (v - r->low) / (r->high - r->low) * (WIDTH - LEFT - RIGHT);
}

static double to_y(const struct range *r, double v)
{
    return HEIGHT - BOTTOM - (v - r->low) / (r->high - r->low) * (HEIGHT - TOP - BOTTOM);
}

static void put_axes(struct at_report *r, const struct range *x, const struct range *y, const char *x_label)
{
    double step = nice_step(y, 5);
    for (double v = ceil(y->low / step) * step; v <= y->high + 1e-9 * step; v += step) {
        double at = to_y(y, v);
        at_report_rawf(r, "<line class=\"g\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, WIDTH - RIGHT, at,
                       at);
        at_report_rawf(r, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.5g</text>\n", LEFT - 8, at + 4,
                       fabs(v) < 1e-9 * step ? 0 : v);
    }
    step = nice_step(x, 7);
    for (double v = ceil(x->low / step) * step; v <= x->high + 1e-9 * step; v += step)
        at_report_rawf(r, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>\n", to_x(x, v),
                       HEIGHT - BOTTOM + 18, fabs(v) < 1e-9 * step ? 0 : v);
    at_report_rawf(r, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6);
    at_report_text(r, x_label);
    at_report_raw(r, "</text>\n");
}

// A path under way: the next point starts a new stroke or goes on with the last.
struct stroke {
    struct at_report *report;
    const struct range *x, *y;
    bool down;
};

static void put_point(struct stroke *s, double x, double y)
{
    if (!isfinite(x) || !isfinite(y)) {
        s->down = false;
        return;
    }
    at_report_rawf(s->report, "%s%.1f %.1f%s", s->down ? "L" : "M", to_x(s->x, x), to_y(s->y, y),
                   s->down ? "" : "h0"); // a lone point is a dot
    s->down = true;
}

// The lowest and highest point of samples begin .. end - 1, in their order; a gap is kept.
static void put_stretch(struct stroke *s, const struct at_series *line, size_t begin, size_t end)
{
    size_t low = begin, high = begin;
    bool gap = false;
    for (size_t i = begin; i < end; i++) {
        gap = gap || !isfinite(line->y[i]);
        if (line->y[i] < line->y[low] || !isfinite(line->y[low]))
            low = i;
        if (line->y[i] > line->y[high] || !isfinite(line->y[high]))
            high = i;
    }
    size_t first = low < high ? low : high, last = low < high ? high : low;
    put_point(s, line->x[first], line->y[first]);
    if (last != first)
        put_point(s, line->x[last], line->y[last]);
    s->down = s->down && !gap;
}

static void put_series(struct at_report *r, const struct at_series *line, size_t index, const struct range *x,
                       const struct range *y)
{
    struct stroke s = {.report = r, .x = x, .y = y};
    at_report_rawf(r,
                   "<path fill=\"none\" stroke=\"var(--c%zu)\" stroke-width=\"1.75\" stroke-linejoin=\"round\" "
                   "stroke-linecap=\"round\" d=\"",
                   index);
    size_t stretches = line->count <= 2 * STRETCHES ? line->count : STRETCHES;
    for (size_t k = 0; k < stretches; k++)
        put_stretch(&s, line, k * line->count / stretches, (k + 1) * line->count / stretches);
    at_report_raw(r, "\"/>\n");
}

static void put_legend(struct at_report *r, const struct at_series *series, size_t count)
{
    at_report_raw(r, "<figcaption>");
    for (size_t i = 0; i < count; i++) {
        at_report_rawf(r, "<span style=\"color:var(--c%zu)\">\xe2\x96\xac</span> ", i);
        at_report_text(r, series[i].name ? series[i].name : "");
        at_report_raw(r, "&emsp;");
    }
    at_report_raw(r, "</figcaption>");
}

void at_report_chart(struct at_report *r, const char *caption, const char *x_label, const struct at_series *series,
                     size_t count)
{
    if (!r)
        return;
    count = count < MAX_SERIES ? count : MAX_SERIES;
    struct range x = {INFINITY, -INFINITY}, y = x;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < series[i].count; k++) {
            include(&x, series[i].x[k]);
            include(&y, series[i].y[k]);
        }
    settle(&x);
    settle(&y);
    at_report_rawf(r, "<figure><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    at_report_text(r, caption ? caption : "chart");
    at_report_raw(r, "\">\n");
    put_axes(r, &x, &y, x_label ? x_label : "");
    for (size_t i = 0; i < count; i++)
        put_series(r, &series[i], i, &x, &y);
    at_report_raw(r, "</svg>\n");
    put_legend(r, series, count);
    if (caption) {
        at_report_raw(r, "<figcaption>");
        at_report_text(r, caption);
        at_report_raw(r, "</figcaption>");
    }
    at_report_raw(r, "</figure>\n");
}
