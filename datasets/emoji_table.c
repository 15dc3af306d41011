// SPDX-License-Identifier: Apache-2.0
#include "datasets/emoji_table.h"

#include "core/base/alloc.h"
#include "core/base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Where the reader is: the file, the line, and the headings in force.
struct reader {
    const char *path;
    int line;
    const char *group, *subgroup;
    struct at_arena *arena;
    struct at_log *log;
};

static char *trim(char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    char *end = s + strlen(s);
    while (end > s && strchr(" \t\r\n", end[-1]))
        *--end = 0;
    return s;
}

// "1F1E6 1F1E8" -> UTF-8. Returns false when the text is not a list of code points.
static bool parse_points(const char *text, char *out, size_t room)
{
    size_t n = 0;
    while (*text) {
        char *end;
        unsigned long c = strtoul(text, &end, 16);
        if (end == text || c == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || n + 5 > room)
            return false;
        n += at_utf8_put(out + n, (uint32_t)c);
        for (text = end; *text == ' ';)
            text++;
    }
    out[n] = 0;
    return n > 0;
}

// Latin-1 letters that occur in English names, without their accents; 0 for the rest.
static char plain_letter(unsigned char second)
{
    static const struct {
        unsigned char from, to;
        char letter;
    } ranges[] = {{0xa0, 0xa5, 'a'}, {0xa7, 0xa7, 'c'}, {0xa8, 0xab, 'e'}, {0xac, 0xaf, 'i'},
                  {0xb1, 0xb1, 'n'}, {0xb2, 0xb6, 'o'}, {0xb9, 0xbc, 'u'}};
    unsigned char low = second >= 0x80 && second < 0xa0 ? (unsigned char)(second + 0x20) : second;
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        if (low >= ranges[i].from && low <= ranges[i].to)
            return ranges[i].letter;
    return 0;
}

char *at_emoji_caption(struct at_arena *arena, const char *name, int *words)
{
    char *out = at_arena_alloc(arena, strlen(name) + 1);
    if (!out)
        return NULL;
    size_t n = 0;
    bool gap = true; // the next letter begins a word
    *words = 0;
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
        char c = 0;
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z'))
            c = (char)*p;
        else if (*p >= 'A' && *p <= 'Z')
            c = (char)(*p + 'a' - 'A');
        else if (*p == 0xc3 && p[1])
            c = plain_letter(*++p);
        else if (*p == '\'')
            continue;
        else if (*p == 0xe2 && p[1] == 0x80 && p[2] == 0x99) { // right single quotation mark
            p += 2;
            continue;
        }
        if (!c) {
            gap = true;
            continue;
        }
        if (gap && n)
            out[n++] = ' ';
        *words += gap;
        gap = false;
        out[n++] = c;
    }
    out[n] = 0;
    return out;
}

static bool bad_line(const struct reader *r, const char *what)
{
    return at_fail(r->log, AT_ERROR_INPUT,
                   "%s:%d: %s; expected a line of Unicode's emoji-test.txt, such as "
                   "\"1F34E ; fully-qualified # (emoji) E0.6 red apple\" (Debian package: unicode-data)",
                   r->path, r->line, what);
}

// points ; status # emoji Eversion name. *keep tells whether the row is wanted.
static bool parse_row(const struct reader *r, char *line, struct at_emoji *item, bool *keep)
{
    char *status = strchr(line, ';'), *comment = status ? strchr(status, '#') : NULL, utf8[64];
    *keep = false;
    if (!comment)
        return bad_line(r, "no ';' and '#'");
    *status++ = 0;
    *comment++ = 0;
    if (strcmp(trim(status), "fully-qualified") != 0)
        return true;
    if (!parse_points(trim(line), utf8, sizeof(utf8)))
        return bad_line(r, "bad code points");
    char *version = strchr(trim(comment), ' ');
    char *name = NULL;
    double number = version && version[1] == 'E' ? strtod(version + 2, &name) : -1;
    if (!(number >= 0 && number < 1000)) // a NaN fits no rule
        return bad_line(r, "no emoji version such as E1.0");
    name = trim(name);
    if (!*name)
        return bad_line(r, "no name");
    if (!r->group || !r->subgroup)
        return bad_line(r, "a row before the first \"# group:\" and \"# subgroup:\"");
    int words;
    const char *caption = at_emoji_caption(r->arena, name, &words);
    *item = (struct at_emoji){.text = at_arena_strf(r->arena, "%s", utf8),
                              .name = at_arena_strf(r->arena, "%s", name),
                              .caption = caption,
                              .group = r->group,
                              .subgroup = r->subgroup,
                              .version = number,
                              .words = caption ? words : 0,
                              .held_out = caption && at_emoji_held_out(caption)};
    if (!item->text || !item->name || !item->caption)
        return at_fail_memory(r->log, sizeof(utf8));
    *keep = true;
    return true;
}

static bool read_line(struct reader *r, char *line, struct at_emoji *item, bool *keep)
{
    *keep = false;
    char *text = trim(line);
    const char **heading = NULL;
    if (strncmp(text, "# group:", 8) == 0)
        heading = &r->group, text += 8;
    else if (strncmp(text, "# subgroup:", 11) == 0)
        heading = &r->subgroup, text += 11;
    if (heading) {
        *heading = at_arena_strf(r->arena, "%s", trim(text));
        return *heading || at_fail_memory(r->log, strlen(text));
    }
    if (!*text || *text == '#')
        return true;
    return parse_row(r, text, item, keep);
}

bool at_emoji_table_read(struct at_log *log, const char *path, struct at_arena *arena, struct at_emoji **items,
                         size_t *count)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return at_fail(log, AT_ERROR_INPUT,
                       "%s: cannot read the emoji names: %s; install the Debian package "
                       "unicode-data, or give the path of emoji-test.txt",
                       path, strerror(errno));
    struct reader r = {.path = path, .arena = arena, .log = log};
    size_t capacity = *count;
    char line[2048];
    bool ok = true;
    while (ok && fgets(line, sizeof(line), file)) {
        r.line++;
        struct at_emoji item;
        bool keep = false;
        if (!strchr(line, '\n') && !feof(file))
            ok = bad_line(&r, "line too long");
        else
            ok = read_line(&r, line, &item, &keep);
        if (!ok || !keep)
            continue;
        if (!at_grow((void **)items, &capacity, *count + 1, sizeof(**items)))
            ok = at_fail_memory(log, sizeof(**items) * (*count + 1));
        else
            (*items)[(*count)++] = item;
    }
    if (ok && ferror(file))
        ok = at_fail(log, AT_ERROR_INPUT, "%s: read error: %s", path, strerror(errno));
    fclose(file);
    if (ok && *count == 0)
        ok = at_fail(log, AT_ERROR_INPUT,
                     "%s: no fully-qualified emoji in it; give the path of Unicode's "
                     "emoji-test.txt (Debian package: unicode-data)",
                     path);
    return ok;
}
