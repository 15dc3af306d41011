// SPDX-License-Identifier: Apache-2.0
// One self-contained HTML page: text, tables of numbers, pictures and curves, readable offline, in light and dark.
//
//     struct at_report *r = at_report_begin(log, "run/report.html", "Run 7");
//     at_report_heading(r, "Result");
//     at_report_paragraph(r, "Wins %.3f of %d.", rate, n);
//     return at_report_end(&r);    // the page appears whole, or not at all
//
// Failures on the way are remembered and reported by at_report_end. Text is escaped; a NULL report is passed over.
#ifndef PIPELINES_EVAL_REPORT_H
#define PIPELINES_EVAL_REPORT_H

#include "core/base/log.h"

#include <stddef.h>

struct at_image;
struct at_report;

// NULL with the reason logged when the file cannot be made.
struct at_report *at_report_begin(struct at_log *log, const char *path, const char *title);
void at_report_heading(struct at_report *report, const char *text);
AT_PRINTF(2, 3) void at_report_paragraph(struct at_report *report, const char *fmt, ...);
// Text as it stands, in a fixed pitch: a configuration, a command line.
void at_report_code(struct at_report *report, const char *text);
// columns headings, then rows x columns cells, row by row. Cells that begin like a number stand to the right. NULL:
// empty.
void at_report_table(struct at_report *report, const char *caption, const char *const *headings, size_t columns,
                     const char *const *cells, size_t rows);
// A picture with its caption (NULL: none). width: pixels on the page, 0: its own; it never exceeds the page.
void at_report_image(struct at_report *report, const struct at_image *image, const char *caption, int width);

struct at_series {
    const char *name;
    const double *x, *y; // x rising; a y that is not finite leaves a gap
    size_t count;
};
// Line chart. At most 8 series; long ones keep the extremes of each stretch.
void at_report_chart(struct at_report *report, const char *caption, const char *x_label, const struct at_series *series,
                     size_t count);

// Finishes and writes the page, frees the report and sets it to NULL. False if anything failed since begin.
AT_NODISCARD bool at_report_end(struct at_report **report);
// Drops the page: nothing is written.
void at_report_cancel(struct at_report **report);

#endif
