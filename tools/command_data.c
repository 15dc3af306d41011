// SPDX-License-Identifier: Apache-2.0
// attune data: makes data sets and looks them over.
#include "datasets/emoji.h"
#include "datasets/pairs.h"
#include "tools/make_command.h"

#include <string.h>

static bool progress(void *priv, double done)
{
    struct at_cli *cli = priv;
    at_progress_update(&cli->progress, 100 * done, 100, NULL);
    return !at_interrupted();
}

static bool export(struct at_cli *cli, struct at_emoji_set *set, struct at_emoji_export *out, bool quiet)
{
    out->progress = progress;
    out->priv = cli;
    at_progress_begin(&cli->progress, "drawing", NULL, quiet);
    bool ok = at_emoji_export(&cli->log, set, out);
    at_progress_end(&cli->progress);
    if (ok && !quiet)
        at_info(&cli->log, "%zu pictures of %zu emoji in %s", out->count, set->count, out->dir);
    return ok;
}

static bool make_emoji(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune data make emoji",
        .summary = "pictures of emoji with their English names",
        .synopsis = "-o FOLDER [options]",
        .about = "Writes an imagefolder: PNGs and metadata.jsonl; names.json lists the captions, and which of them are "
                 "held out of preference pairs. Needs Debian's fonts-noto-color-emoji and unicode-data.",
        .example = "  attune data make emoji -o emoji --count 640 --size 32\n",
    };
    struct at_emoji_params source = {0};
    struct at_emoji_rule rule = {0};
    struct at_emoji_export out = {.count = 320, .size = 32};
    int names = 0, words = 0;
    int64_t count = 320;
    bool quiet = false;
    const struct at_option rows[] = {
        {"out", 'o', AT_OPTION_TEXT, &out.dir, "FOLDER", "new or empty", .required = true},
        {"count", 0, AT_OPTION_I64, &count, "N", "pictures", .min = 1, .max = 1e6},
        {"size", 0, AT_OPTION_INT, &out.size, "N", "side in pixels", .min = 8, .max = 1024},
        {"seed", 0, AT_OPTION_SEED, &out.seed, "N", "of places, sizes and colours"},
        {"names", 0, AT_OPTION_INT, &names, "N", "how many emoji", .zero = "320", .min = 0, .max = 10000},
        {"words", 0, AT_OPTION_INT, &words, "N", "most words in a name", .zero = "3", .min = 0, .max = 32},
        {"distance", 0, AT_OPTION_REAL, &rule.distance, "X", "how much drawings must differ", .zero = "0.25", .min = 0,
         .max = 1},
        {"font", 0, AT_OPTION_TEXT, &source.font, "FILE", "colour font", .zero = AT_EMOJI_FONT},
        {"table", 0, AT_OPTION_TEXT, &source.table, "FILE", "Unicode's emoji-test.txt", .zero = AT_EMOJI_TABLE},
        {"quiet", 'q', AT_OPTION_FLAG, &quiet, NULL, "no progress", .here = true},
        {0},
    };
    struct at_log *log = &cli->log;
    struct at_options *o = at_options_create(&usage, log);
    struct at_emoji_set *set = NULL;
    if (o)
        at_options_add(o, rows);
    bool ok = at_cli_parse(cli, o, argc, argv) && (set = at_emoji_open(log, &source));
    rule.count = (size_t)names;
    rule.max_words = words;
    out.count = (size_t)count;
    ok = ok && at_emoji_select(log, set, &rule) && export(cli, set, &out, quiet);
    at_emoji_close(&set);
    at_options_destroy(&o);
    return ok;
}

static bool make(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_command emoji = {"emoji", "pictures of emoji with their English names", make_emoji};
    static const struct at_command *const commands[] = {&emoji, &at_command_make_pairs, &at_command_make_tokenizer,
                                                        NULL};
    static const struct at_command_group group = {
        .name = "attune data make", .about = "Makes data sets, the same ones from the same seed.", .commands = commands};
    return at_group_run(cli, &group, argc, argv);
}

static size_t count_prompts(const struct at_pairs *pairs)
{
    size_t count = 0;
    for (size_t i = 0; i < pairs->count; i++) {
        bool seen = false;
        for (size_t k = i; k-- > 0 && !seen;)
            seen = strcmp(pairs->items[k].prompt, pairs->items[i].prompt) == 0;
        count += !seen;
    }
    return count;
}

static bool check(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_usage usage = {
        .name = "attune data check",
        .summary = "looks preference pairs over before training",
        .synopsis = "PAIRS [options]",
        .about = "Every row is read and every picture decoded; all that is wrong is named with file, line and field.",
        .example = "  attune data check pairs.jsonl\n",
        .arguments = 1,
    };
    bool fast = false, json = false;
    const struct at_option rows[] = {
        {"fast", 0, AT_OPTION_FLAG, &fast, NULL, "do not decode the pictures"},
        {"json", 0, AT_OPTION_FLAG, &json, NULL, "print the result as JSON", .here = true},
        {0},
    };
    struct at_log *log = &cli->log;
    struct at_options *o = at_options_create(&usage, log);
    struct at_pairs pairs = {0};
    struct at_json_doc *doc = NULL;
    if (o)
        at_options_add(o, rows);
    bool ok = at_cli_parse(cli, o, argc, argv);
    if (ok && o->arguments.count == 0)
        ok = at_fail(log, AT_ERROR_USAGE, "attune data check needs a file or folder of pairs");
    const char *path = ok ? o->arguments.items[0] : NULL;
    ok = ok && at_pairs_read(log, path, &(struct at_pairs_params){.skip_images = fast}, &pairs);
    if (ok && json && (doc = at_json_create(log, false))) {
        at_json_put_int(at_json_root(doc), "pairs", (int64_t)pairs.count);
        at_json_put_int(at_json_root(doc), "prompts", (int64_t)count_prompts(&pairs));
        at_json_put_int(at_json_root(doc), "ties", (int64_t)pairs.ties);
        ok = at_cli_print_json(cli, doc);
    } else if (ok && !json) {
        printf("%s: %zu pairs of %zu prompts; %zu ties left out\n", path, pairs.count, count_prompts(&pairs),
               pairs.ties);
    }
    at_json_destroy(&doc);
    at_pairs_finish(&pairs);
    at_options_destroy(&o);
    return ok;
}

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_command make_command = {"make", "makes a data set", make};
    static const struct at_command check_command = {"check", "looks preference pairs over", check};
    static const struct at_command *const commands[] = {&make_command, &check_command, NULL};
    static const struct at_command_group group = {
        .name = "attune data", .about = "Makes data sets, and checks what you bring.", .commands = commands};
    return at_group_run(cli, &group, argc, argv);
}

const struct at_command at_command_data = {"data", "makes data sets, checks preference pairs", run};
