// SPDX-License-Identifier: Apache-2.0
// A command line, words divided by newlines, and after the byte 0x1e the file of --config.
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"
#include "tools/options.h"

#include <math.h>

#define WORDS 24
#define CONFIG "c.json"

struct settings {
    bool flip;
    int steps, kind;
    int64_t many;
    uint64_t seed;
    double lr;
    float alpha;
    size_t memory;
    const char *out, *note;
    struct at_texts prompts;
};

static const char *const kinds[] = {"constant", "linear", "cosine", NULL};

static struct at_options *table(struct settings *s, struct at_log *log)
{
    static const struct at_usage usage = {.name = "attune fuzz", .summary = "s", .synopsis = "s", .example = "e\n", .arguments = 1};
    struct at_options *o = at_options_create(&usage, log);
    const struct at_option rows[] = {
        {"flip", 'f', AT_OPTION_FLAG, &s->flip, NULL, "h"},
        {"steps", 's', AT_OPTION_INT, &s->steps, "N", "h", .min = 1, .max = 1000},
        {"many", 0, AT_OPTION_I64, &s->many, "N", "h"},
        {"seed", 0, AT_OPTION_SEED, &s->seed, "N", "h"},
        {"lr", 0, AT_OPTION_REAL, &s->lr, "X", "h", .min = 0, .max = 10},
        {"alpha", 0, AT_OPTION_FLOAT, &s->alpha, "X", "h", .min = 0, .max = INFINITY},
        {"memory", 0, AT_OPTION_SIZE, &s->memory, "SIZE", "h"},
        {"out", 'o', AT_OPTION_TEXT, &s->out, "DIR", "h"},
        {"note", 0, AT_OPTION_TEXT, &s->note, "TEXT", "h", .blank = true},
        {"kind", 0, AT_OPTION_CHOICE, &s->kind, "NAME", "h", .choices = kinds},
        {"prompt", 'p', AT_OPTION_LIST, &s->prompts, "TEXT", "h"},
        {0},
    };
    if (!o)
        abort();
    at_options_add(o, rows);
    return o;
}

// Cuts the text into words; --help would print.
static int split(char *text, char **argv)
{
    static char name[] = "attune", option[] = "--config", path[128];
    int argc = 0;
    snprintf(path, sizeof(path), "%s/%s", fuzz_folder(), CONFIG);
    argv[argc++] = name;
    argv[argc++] = option;
    argv[argc++] = path;
    for (char *word = strtok(text, "\n"); word && argc < WORDS; word = strtok(NULL, "\n"))
        if (!strstr(word, "-h") && !strstr(word, "config"))
            argv[argc++] = word;
    return argc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *stop = size ? memchr(data, 0x1e, size) : NULL;
    size_t line = stop ? (size_t)(stop - data) : size;
    char *argv[WORDS + 1] = {0}, *text = at_calloc(line + 1, 1);
    struct settings s = {.steps = 1, .lr = 1};
    struct at_log log = {.write = at_log_drop};
    struct at_options *o = table(&s, &log);
    if (!text)
        abort();
    if (line)
        memcpy(text, data, line);
    fuzz_file(CONFIG, stop ? stop + 1 : (const uint8_t *)"{}", stop ? size - line - 1 : 2);
    bool ok = at_options_parse(o, split(text, argv), argv) == AT_PARSE_OK;
    if (ok != (log.error == AT_ERROR_NONE))
        abort(); // a failure without a word, or the other way round
    if (ok && (s.steps < 1 || s.steps > 1000 || !(s.lr >= 0 && s.lr <= 10) || !(s.alpha >= 0) || !isfinite(s.alpha) ||
               s.kind < 0 || s.kind > 2))
        abort();
    struct at_json_doc *doc = ok ? at_options_json(o) : NULL;
    at_json_destroy(&doc);
    at_options_destroy(&o);
    at_free(text);
    return 0;
}
