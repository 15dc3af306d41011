// SPDX-License-Identifier: Apache-2.0
// The inside of report.h: text going out.
#ifndef PIPELINES_EVAL_REPORT_PAGE_H
#define PIPELINES_EVAL_REPORT_PAGE_H

#include "core/io/file.h"
#include "pipelines/eval/report.h"

struct at_report {
    struct at_log *log;
    struct at_file_writer *file;
    bool failed;
};

// Markup as it stands.
void at_report_raw(struct at_report *report, const char *text);
AT_PRINTF(2, 3) void at_report_rawf(struct at_report *report, const char *fmt, ...);
// Text with & < > " escaped, and bytes that are not UTF-8 replaced.
void at_report_text(struct at_report *report, const char *text);

#endif
