// SPDX-License-Identifier: Apache-2.0
#include "tools/options.h"

#include "core/base/alloc.h"
#include "core/base/suggest.h"
#include "tools/options_set.h"

#include <assert.h>
#include <string.h>

struct at_options *at_options_create(const struct at_usage *usage, struct at_log *log)
{
    struct at_options *o = at_calloc(1, sizeof(*o));
    if (!o) {
        at_fail_memory(log, sizeof(*o));
        return NULL;
    }
    o->usage = usage;
    o->log = log;
    const struct at_option common[] = {
        {"config", 0, AT_OPTION_TEXT, &o->config_path, "FILE", "options as a JSON object; the command line wins",
         .here = true},
        {"help", 'h', AT_OPTION_FLAG, &o->help, NULL, "this text", .here = true},
        {0},
    };
    at_options_add(o, common);
    return o;
}

void at_options_destroy(struct at_options **options)
{
    struct at_options *o = *options;
    if (!o)
        return;
    for (size_t i = 0; i < o->count; i++) {
        struct at_texts *texts = o->list[i].target;
        if (o->list[i].type == AT_OPTION_LIST) {
            at_free(texts->items);
            *texts = (struct at_texts){0};
        }
    }
    at_free(o->arguments.items);
    at_json_destroy(&o->config);
    at_free(o);
    *options = NULL;
}

void at_options_add(struct at_options *o, const struct at_option *rows)
{
    for (; rows->name; rows++) {
        assert(o->count < AT_OPTIONS);
        o->list[o->count++] = *rows;
    }
}

bool at_texts_add(struct at_texts *texts, const char *text)
{
    if (!at_grow((void **)&texts->items, &texts->capacity, texts->count + 1, sizeof(*texts->items)))
        return false;
    texts->items[texts->count++] = text;
    return true;
}

// Names are equal if they differ in nothing but - and _.
static bool same_name(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!b[i] || (a[i] != b[i] && !((a[i] == '-' || a[i] == '_') && (b[i] == '-' || b[i] == '_'))))
            return false;
    return b[n] == '\0';
}

static struct at_option *find(struct at_options *o, const char *name, size_t n)
{
    for (size_t i = 0; i < o->count; i++)
        if (same_name(name, o->list[i].name, n))
            return &o->list[i];
    return NULL;
}

static const char *nearest(const struct at_options *o, const char *name, bool config)
{
    const char *names[AT_OPTIONS];
    size_t n = 0;
    for (size_t i = 0; i < o->count; i++)
        if (!config || !o->list[i].here)
            names[n++] = o->list[i].name;
    return at_suggest(name, names, n);
}

static bool unknown(struct at_options *o, const char *word, const char *name)
{
    const char *near = nearest(o, name, false);
    return near ? at_fail(o->log, AT_ERROR_USAGE, "unknown option %s; did you mean --%s?", word, near)
                : at_fail(o->log, AT_ERROR_USAGE, "unknown option %s; %s --help lists them", word, o->usage->name);
}

// One option as it stands on the command line.
struct hit {
    struct at_option *option;
    const char *value; // NULL: a flag without one
    bool negated;
};

static bool read_long(struct at_options *o, const char *word, struct hit *hit)
{
    const char *equals = strchr(word, '='), *name = word + 2;
    size_t n = equals ? (size_t)(equals - name) : strlen(name);
    char plain[64];
    snprintf(plain, sizeof(plain), "%.*s", n < sizeof(plain) ? (int)n : (int)sizeof(plain) - 1, name);
    *hit = (struct hit){.option = find(o, name, n), .value = equals ? equals + 1 : NULL};
    if (!hit->option && !equals && strncmp(plain, "no-", 3) == 0) {
        hit->option = find(o, name + 3, n - 3);
        hit->negated = true;
        if (hit->option && hit->option->type != AT_OPTION_FLAG)
            hit->option = NULL;
    }
    return hit->option || unknown(o, word, plain);
}

static bool read_short(struct at_options *o, const char *word, struct hit *hit)
{
    *hit = (struct hit){0};
    for (size_t i = 0; i < o->count; i++)
        if (o->list[i].letter == word[1])
            hit->option = &o->list[i];
    if (!hit->option)
        return unknown(o, word, word + 1);
    if (word[2] && hit->option->type == AT_OPTION_FLAG)
        return at_fail(o->log, AT_ERROR_USAGE, "-%c takes no value, found %s", word[1], word);
    hit->value = word[2] ? word + 2 + (word[2] == '=') : NULL;
    return true;
}

// The word at argv[*i], and the next where it is the option's value.
static bool read_word(struct at_options *o, int argc, char **argv, int *i, struct hit *hit)
{
    const char *word = argv[*i];
    if (!(word[1] == '-' ? read_long(o, word, hit) : read_short(o, word, hit)))
        return false;
    if (hit->option->type == AT_OPTION_FLAG || hit->value)
        return true;
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    if (!next || (strncmp(next, "--", 2) == 0 && find(o, next + 2, strcspn(next + 2, "="))))
        return at_fail(o->log, AT_ERROR_USAGE, "%s needs a value: --%s %s", word, hit->option->name,
                       hit->option->value);
    hit->value = next;
    ++*i;
    return true;
}

static bool read_line(struct at_options *o, int argc, char **argv, struct hit *hits, size_t *count)
{
    bool plain = false;
    for (int i = 1; i < argc; i++) {
        if (!plain && strcmp(argv[i], "--") == 0) {
            plain = true;
        } else if (!plain && argv[i][0] == '-' && argv[i][1]) {
            if (!read_word(o, argc, argv, &i, &hits[*count]))
                return false;
            ++*count;
        } else if (o->arguments.count == o->usage->arguments) {
            return at_fail(o->log, AT_ERROR_USAGE, "unexpected argument \"%s\"; %s --help shows what is taken", argv[i],
                           o->usage->name);
        } else if (!at_texts_add(&o->arguments, argv[i])) {
            return at_fail_memory(o->log, sizeof(char *));
        }
    }
    return true;
}

static bool read_config(struct at_options *o)
{
    o->config = at_json_load(o->log, o->config_path);
    if (!o->config)
        return false;
    struct at_json root = at_json_root(o->config);
    if (!at_json_is_object(root))
        return at_json_fail(root, "expected an object of options, such as {\"steps\": 25}");
    bool ok = true;
    for (struct at_json v = at_json_first(root); v.item; v = at_json_next(v)) {
        const char *key = at_json_key(v);
        struct at_option *option = find(o, key, strlen(key));
        if (!option || option->here) {
            const char *near = nearest(o, key, true);
            ok = near ? at_json_fail(v, "unknown option; did you mean \"%s\"?", near)
                      : at_json_fail(v, "unknown option; %s --help lists them", o->usage->name);
        } else if (at_json_present(v)) {
            ok = at_option_from_json(o, option, v) && ok;
            o->given[option - o->list] = true;
        }
    }
    return ok;
}

static bool check_required(const struct at_options *o)
{
    for (size_t i = 0; i < o->count; i++) {
        const struct at_option *option = &o->list[i];
        if (option->required && at_option_is_zero(option))
            return at_fail(o->log, AT_ERROR_USAGE, "%s needs --%s %s (%s)", o->usage->name, option->name, option->value,
                           option->help);
    }
    return true;
}

static bool apply(struct at_options *o, const struct hit *hits, size_t count)
{
    for (size_t h = 0; h < count; h++) // a list on the command line replaces the config's
        if (hits[h].option->type == AT_OPTION_LIST)
            ((struct at_texts *)hits[h].option->target)->count = 0;
    for (size_t h = 0; h < count; h++) {
        if (!at_option_from_text(o, hits[h].option, hits[h].value, hits[h].negated))
            return false;
        o->given[hits[h].option - o->list] = true;
    }
    return true;
}

enum at_parse at_options_parse(struct at_options *o, int argc, char **argv)
{
    size_t count = 0;
    struct hit *hits = at_calloc((size_t)argc + 1, sizeof(*hits));
    if (!hits) {
        at_fail_memory(o->log, (size_t)argc * sizeof(*hits));
        return AT_PARSE_BAD;
    }
    enum at_parse result = AT_PARSE_BAD;
    bool ok = read_line(o, argc, argv, hits, &count), help = false;
    for (size_t h = 0; h < count; h++) {
        if (hits[h].option->target == &o->config_path)
            o->config_path = hits[h].value;
        help = help || hits[h].option->target == &o->help;
    }
    if (ok && help) {
        at_options_help(o, stdout);
        result = AT_PARSE_HELP;
    } else if (ok && (!o->config_path || read_config(o)) && apply(o, hits, count) && check_required(o)) {
        result = AT_PARSE_OK;
    }
    at_free(hits);
    return result;
}

bool at_options_given(const struct at_options *o, const char *name)
{
    for (size_t i = 0; i < o->count; i++)
        if (strcmp(o->list[i].name, name) == 0)
            return o->given[i];
    return false;
}
