// SPDX-License-Identifier: Apache-2.0
// The text of --help.
#include "tools/options_set.h"

#include <inttypes.h>
#include <string.h>

#define COLUMN 30
#define WIDTH 100

// Prints words from column `at` on, continued at `indent`.
static void wrap(FILE *out, const char *text, int at, int indent)
{
    while (*text) {
        int n = (int)strcspn(text, " \n");
        if (at > indent && at + 1 + n > WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
        }
        bool first = at == indent;
        fprintf(out, "%s%.*s", first ? "" : " ", n, text);
        at += n + !first;
        text += n;
        text += strspn(text, " \n");
    }
    fputc('\n', out);
}

void at_options_wrap(FILE *out, const char *text)
{
    wrap(out, text, 0, 0);
}

static void describe_default(const struct at_option *option, char *text, size_t bytes)
{
    text[0] = '\0';
    if (option->zero && at_option_is_zero(option)) {
        bool list = option->type == AT_OPTION_LIST;
        snprintf(text, bytes, "%s (default: %s)", list ? "; may be repeated" : "", option->zero);
        return;
    }
    switch (option->type) {
    case AT_OPTION_FLAG:
        if (*(const bool *)option->target)
            snprintf(text, bytes, " (default: yes)");
        break;
    case AT_OPTION_INT:
        snprintf(text, bytes, " (default: %d)", *(const int *)option->target);
        break;
    case AT_OPTION_I64:
        snprintf(text, bytes, " (default: %" PRId64 ")", *(const int64_t *)option->target);
        break;
    case AT_OPTION_SEED:
        snprintf(text, bytes, " (default: %" PRIu64 ")", *(const uint64_t *)option->target);
        break;
    case AT_OPTION_REAL:
        snprintf(text, bytes, " (default: %g)", *(const double *)option->target);
        break;
    case AT_OPTION_FLOAT:
        snprintf(text, bytes, " (default: %g)", (double)*(const float *)option->target);
        break;
    case AT_OPTION_TEXT:
        if (*(const char *const *)option->target)
            snprintf(text, bytes, " (default: %s)", *(const char *const *)option->target);
        break;
    case AT_OPTION_CHOICE:
        snprintf(text, bytes, " (default: %s)", option->choices[*(const int *)option->target]);
        break;
    case AT_OPTION_SIZE:
        snprintf(text, bytes, " (default: %zu)", *(const size_t *)option->target);
        break;
    case AT_OPTION_LIST:
        snprintf(text, bytes, "; may be repeated");
        break;
    }
}

static void print_option(FILE *out, const struct at_option *option)
{
    char head[64], text[512], value[160];
    char letter[8] = "    ";
    if (option->letter)
        snprintf(letter, sizeof(letter), "-%c, ", option->letter);
    snprintf(head, sizeof(head), "  %s--%s %s", letter, option->name, option->value ? option->value : "");
    describe_default(option, value, sizeof(value));
    size_t used = (size_t)snprintf(text, sizeof(text), "%s", option->help);
    for (size_t i = 0; option->type == AT_OPTION_CHOICE && option->choices[i] && used < sizeof(text); i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? ", " : ": ", option->choices[i]);
    if (used < sizeof(text))
        snprintf(text + used, sizeof(text) - used, "%s", value);
    fputs(head, out);
    int n = (int)strlen(head);
    if (n >= COLUMN) {
        fputc('\n', out);
        n = 0;
    }
    fprintf(out, "%*s", COLUMN - n, "");
    wrap(out, text, COLUMN, COLUMN);
}

void at_options_help(const struct at_options *o, FILE *out)
{
    fprintf(out, "%s: %s\n\nUsage: %s %s\n\n", o->usage->name, o->usage->summary, o->usage->name, o->usage->synopsis);
    if (o->usage->about) {
        wrap(out, o->usage->about, 0, 0);
        fputc('\n', out);
    }
    for (size_t i = 2; i < o->count; i++)
        if (o->list[i].help)
            print_option(out, &o->list[i]);
    for (size_t i = 0; i < 2; i++) // --config and --help
        print_option(out, &o->list[i]);
    fprintf(out, "\nExample:\n%s", o->usage->example);
}
