// SPDX-License-Identifier: Apache-2.0
#include "pipelines/eval/report.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/image.h"
#include "tests/harness.h"

#include <stdlib.h>

static char path[] = "/tmp/attune-report-XXXXXX";

static void write_page(struct at_report *r)
{
    static const char *const headings[] = {"rule", "win"}, *const cells[] = {"a<b", "0.5", NULL, "-3"};
    double x[4000], y[4000];
    for (int i = 0; i < 4000; i++) {
        x[i] = i;
        y[i] = i == 7 ? NAN : i == 1234 ? 9 : 1.0 / (1 + i); // a gap, and a spike that must survive thinning
    }
    struct at_image image = {0};
    AT_CHECK(at_image_init(NULL, &image, 2, 2, 3));
    at_report_paragraph(r, "%d%% \"of\" <all> & more \xff", 50);
    at_report_heading(r, "Table");
    at_report_table(r, "caption", headings, 2, cells, 2);
    at_report_chart(r, "curve", "step", (const struct at_series[]){{"loss", x, y, 4000}}, 1);
    at_report_chart(r, "nothing", "step", NULL, 0);
    at_report_image(r, &image, "dot", 64);
    at_image_finish(&image);
}

static void the_page_is_whole_and_escaped(void)
{
    struct at_report *r = at_report_begin(NULL, path, "Run <1>");
    if (!AT_CHECK(r))
        return;
    write_page(r);
    AT_CHECK(at_report_end(&r) && !r);
    uint8_t *data;
    size_t size;
    if (!AT_CHECK(at_file_read(NULL, path, 1 << 20, &data, &size)))
        return;
    const char *page = (const char *)data;
    AT_CHECK(strncmp(page, "<!doctype html>", 15) == 0 && strstr(page, "</html>"));
    AT_CHECK(strstr(page, "<title>Run &lt;1&gt;</title>"));
    AT_CHECK(strstr(page, "<p>50% &quot;of&quot; &lt;all&gt; &amp; more \xef\xbf\xbd</p>"));
    AT_CHECK(strstr(page, "<td>a&lt;b</td><td class=\"n\">0.5</td>"));
    AT_CHECK(strstr(page, "width=\"64\" height=\"64\" alt=\"dot\" src=\"data:image/png;base64,iVBORw0KGgo"));
    AT_CHECK(!strstr(page, "nan") && !strstr(page, "inf"));
    AT_CHECK(strstr(page, " 12.") || strstr(page, " 12L")); // the spike reaches the top
    AT_CHECK(size < 60000);                                 // the curve was thinned
    AT_CHECK(!strstr(page, "http"));                        // nothing is fetched
    at_free(data);
}

static void failures_come_out_at_the_end(void)
{
    bool done = false;
    for (size_t n = 1; n < 200 && !done; n++) {
        at_alloc_fail_at(n, false);
        struct at_report *r = at_report_begin(NULL, path, "t");
        at_report_paragraph(r, "x");
        at_report_paragraph(r, "%s", "y");
        bool ok = at_report_end(&r);
        done = !at_alloc_failed();
        AT_CHECK(ok == done);
        at_alloc_fail_at(0, false);
    }
    AT_CHECK(done);
    AT_CHECK(!at_report_begin(NULL, "/nonexistent/x.html", "t"));
}

static void a_cancelled_page_leaves_nothing(void)
{
    AT_CHECK(at_path_remove(NULL, path));
    struct at_report *r = at_report_begin(NULL, path, "t");
    at_report_cancel(&r);
    AT_CHECK(!r && !at_file_exists(path));
}

int main(void)
{
    int fd = mkstemp(path);
    if (!AT_CHECK(fd >= 0))
        return at_test_end();
    AT_RUN(the_page_is_whole_and_escaped);
    AT_RUN(failures_come_out_at_the_end);
    AT_RUN(a_cancelled_page_leaves_nothing);
    return at_test_end();
}
