// SPDX-License-Identifier: Apache-2.0
#include "pipelines/eval/report.h"

#include "core/base/alloc.h"
#include "core/base/utf8.h"
#include "core/io/image.h"
#include "pipelines/eval/report_page.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1d2126;--soft:#5c6570;--line:#d9dee4;--paper:#fff;--band:#f5f7f9;"
    "--c0:#1f6fd1;--c1:#d1571f;--c2:#2b8f4e;--c3:#8a4fc7;--c4:#b8860b;--c5:#c2347c;--c6:#148a94;--c7:#6b7280}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e7eb;--soft:#9aa4b0;--line:#353c45;--paper:#16191d;--band:#"
    "1e2329;"
    "--c0:#6aa9f5;--c1:#f5935f;--c2:#66c98a;--c3:#bb92ee;--c4:#e0b84c;--c5:#ee80b4;--c6:#5cc6cf;--c7:#a0a8b4}}"
    "body{margin:0 auto;max-width:60rem;padding:2rem 1.25rem 4rem;font:16px/1.55 system-ui,sans-serif;color:var(--ink);"
    "background:var(--paper)}"
    "h1{font-size:1.75rem;line-height:1.2;margin:0 0 1.5rem}"
    "h2{font-size:1.2rem;margin:2.5rem 0 .75rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}"
    "p{margin:.6rem 0;max-width:46rem;overflow-wrap:anywhere}"
    "pre{background:var(--band);border:1px solid var(--line);border-radius:6px;padding:.75rem 1rem;overflow:auto;"
    "font-size:.85rem;line-height:1.4}"
    ".wide{overflow-x:auto;margin:1rem 0}"
    "table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}"
    "caption,figcaption{text-align:left;color:var(--soft);font-size:.88rem;padding:.3rem 0}"
    "th,td{padding:.35rem .9rem .35rem 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}"
    "th{font-weight:600;border-bottom:2px solid var(--line)}td.n{text-align:right}"
    "figure{margin:1rem 0}img{max-width:100%;height:auto;border:1px solid var(--line);border-radius:4px}"
    "img.big{image-rendering:pixelated}svg{display:block;width:100%;height:auto;font:12px system-ui,sans-serif}"
    "svg text{fill:var(--soft)}svg .g{stroke:var(--line)}";

void at_report_raw(struct at_report *r, const char *text)
{
    if (!r->failed && !at_file_writer_put(r->file, text, strlen(text)))
        r->failed = true;
}

void at_report_rawf(struct at_report *r, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    at_report_raw(r, text);
}

static const char *escape_of(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    default:
        return NULL;
    }
}

void at_report_text(struct at_report *r, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        char plain[256];
        size_t n = 0;
        const char *special = NULL;
        while (left > 0 && n + 4 < sizeof(plain) && !special) {
            size_t step = at_utf8_step(text, left, NULL);
            bool control = step == 1 && (unsigned char)*text < 32 && !strchr("\t\n", *text);
            special = step == 0 || control ? "\xef\xbf\xbd" : step == 1 ? escape_of(*text) : NULL;
            step = step ? step : 1;
            if (!special)
                memcpy(plain + n, text, step), n += step;
            text += step;
            left -= step;
        }
        plain[n] = 0;
        at_report_raw(r, plain);
        if (special)
            at_report_raw(r, special);
    }
}

struct at_report *at_report_begin(struct at_log *log, const char *path, const char *title)
{
    struct at_report *r = at_calloc(1, sizeof(*r));
    if (!r) {
        (void)at_fail_memory(log, sizeof(*r));
        return NULL;
    }
    r->log = log;
    r->file = at_file_writer_create(log, path);
    if (!r->file) {
        at_free(r);
        return NULL;
    }
    at_report_raw(r, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    at_report_text(r, title);
    at_report_raw(r, "</title>\n<style>");
    at_report_raw(r, style);
    at_report_raw(r, "</style>\n</head>\n<body>\n<h1>");
    at_report_text(r, title);
    at_report_raw(r, "</h1>\n");
    return r;
}

static void element(struct at_report *r, const char *name, const char *text)
{
    if (!r)
        return;
    at_report_rawf(r, "<%s>", name);
    at_report_text(r, text);
    at_report_rawf(r, "</%s>\n", name);
}

void at_report_heading(struct at_report *r, const char *text)
{
    element(r, "h2", text);
}

void at_report_code(struct at_report *r, const char *text)
{
    element(r, "pre", text);
}

void at_report_paragraph(struct at_report *r, const char *fmt, ...)
{
    if (!r)
        return;
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = n < 0 ? NULL : at_calloc((size_t)n + 1, 1);
    if (text) {
        vsnprintf(text, (size_t)n + 1, fmt, again);
        element(r, "p", text);
    } else {
        r->failed = !at_fail_memory(r->log, n < 0 ? 0 : (size_t)n);
    }
    va_end(again);
    at_free(text);
}

static bool looks_like_number(const char *text)
{
    text += text[0] == '-' || text[0] == '+';
    text += strncmp(text, "\xe2\x88\x92", 3) == 0 ? 3 : 0; // the minus sign
    text += text[0] == '.';
    return text[0] >= '0' && text[0] <= '9';
}

void at_report_table(struct at_report *r, const char *caption, const char *const *headings, size_t columns,
                     const char *const *cells, size_t rows)
{
    if (!r)
        return;
    at_report_raw(r, "<div class=\"wide\"><table>\n");
    if (caption)
        element(r, "caption", caption);
    at_report_raw(r, "<thead><tr>");
    for (size_t c = 0; c < columns; c++)
        element(r, "th", headings[c] ? headings[c] : "");
    at_report_raw(r, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < rows; i++) {
        at_report_raw(r, "<tr>");
        for (size_t c = 0; c < columns; c++) {
            const char *cell = cells[i * columns + c] ? cells[i * columns + c] : "";
            at_report_raw(r, looks_like_number(cell) ? "<td class=\"n\">" : "<td>");
            at_report_text(r, cell);
            at_report_raw(r, "</td>");
        }
        at_report_raw(r, "</tr>\n");
    }
    at_report_raw(r, "</tbody></table></div>\n");
}

// RFC 4648, section 4.
static void put_base64(struct at_report *r, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[769];
    size_t n = 0;
    for (size_t i = 0; i < size; i += 3) {
        size_t have = size - i < 3 ? size - i : 3;
        uint32_t v =
            (uint32_t)bytes[i] << 16 | (have > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) | (have > 2 ? bytes[i + 2] : 0);
        for (size_t k = 0; k < 4; k++)
            text[n++] = k > have ? '=' : digits[(v >> (18 - 6 * k)) & 63];
        if (n == sizeof(text) - 1 || i + 3 >= size) {
            text[n] = 0;
            at_report_raw(r, text);
            n = 0;
        }
    }
}

void at_report_image(struct at_report *r, const struct at_image *image, const char *caption, int width)
{
    if (!r || r->failed)
        return;
    uint8_t *bytes = NULL;
    size_t size;
    if (!at_png_encode(r->log, "picture of the report", image, NULL, 0, &bytes, &size)) {
        r->failed = true;
        return;
    }
    int shown = width > 0 ? width : image->width;
    at_report_rawf(r, "<figure><img%s width=\"%d\" height=\"%d\" alt=\"",
                   shown >= 2 * image->width ? " class=\"big\"" : "", shown,
                   (int)((double)image->height * shown / image->width + 0.5));
    at_report_text(r, caption ? caption : "");
    at_report_raw(r, "\" src=\"data:image/png;base64,");
    put_base64(r, bytes, size);
    at_report_raw(r, "\">");
    if (caption)
        element(r, "figcaption", caption);
    at_report_raw(r, "</figure>\n");
    at_free(bytes);
}

void at_report_cancel(struct at_report **report)
{
    if (!*report)
        return;
    at_file_writer_destroy(&(*report)->file);
    at_free(*report);
    *report = NULL;
}

bool at_report_end(struct at_report **report)
{
    struct at_report *r = *report;
    if (!r)
        return false;
    at_report_raw(r, "</body>\n</html>\n");
    bool ok = !r->failed && at_file_writer_commit(r->file);
    at_report_cancel(report);
    return ok;
}
