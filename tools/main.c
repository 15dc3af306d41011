// SPDX-License-Identifier: Apache-2.0
// attune: the program. Finds the subcommand and turns the kind of its failure into the exit code.
#include "core/base/alloc.h"
#include "core/base/suggest.h"
#include "tools/cli.h"
#include "tools/command_list.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DECLARE(name) extern const struct at_command at_command_##name;
#define ENTRY(name) &at_command_##name,
AT_COMMANDS(DECLARE)
static const struct at_command *const commands[] = {AT_COMMANDS(ENTRY) NULL};

static const struct at_command_group program = {
    .name = "attune",
    .about = "Aligns text-to-image diffusion models with preferences, on any GPU with Vulkan or on the CPU.",
    .commands = commands,
    .example = "  attune sample -p \"a red heart\" --count 4 -o hearts\n",
};

static void write_log(void *priv, enum at_level level, const char *text)
{
    struct at_cli *cli = priv;
    static const char *const label[] = {"error: ", "warning: ", "", "debug: "};
    at_progress_hide(&cli->progress);
    fprintf(stderr, "%s%s\n", label[level], text);
}

static void print_group(const struct at_command_group *group, FILE *out)
{
    at_options_wrap(out, group->about);
    fprintf(out, "\nUsage: %s COMMAND [options]\n\n", group->name);
    for (size_t i = 0; group->commands[i]; i++)
        fprintf(out, "  %-11s %s\n", group->commands[i]->name, group->commands[i]->summary);
    fprintf(out, "\n%s COMMAND --help tells more, with an example.\n", group->name);
    if (group->example)
        fprintf(out, "\nExample:\n%s", group->example);
}

static const struct at_command *find(const struct at_command_group *group, const char *name)
{
    for (size_t i = 0; group->commands[i]; i++)
        if (strcmp(group->commands[i]->name, name) == 0)
            return group->commands[i];
    return NULL;
}

static bool fail_unknown(struct at_cli *cli, const struct at_command_group *group, const char *word)
{
    const char *names[32];
    size_t n = 0;
    for (; n < 32 && group->commands[n]; n++)
        names[n] = group->commands[n]->name;
    const char *near = at_suggest(word, names, n);
    if (near)
        return at_fail(&cli->log, AT_ERROR_USAGE, "unknown command \"%s\"; did you mean %s %s?", word, group->name,
                       near);
    return at_fail(&cli->log, AT_ERROR_USAGE, "unknown command \"%s\"; %s --help lists them", word, group->name);
}

static bool asks_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

bool at_group_run(struct at_cli *cli, const struct at_command_group *group, int argc, char **argv)
{
    if (argc < 2) {
        print_group(group, stderr);
        return at_fail(&cli->log, AT_ERROR_USAGE, "%s needs a command, one of those above", group->name);
    }
    if (asks_help(argv[1]) && argc == 2) {
        print_group(group, stdout);
        return true;
    }
    bool help = asks_help(argv[1]); // attune help sample
    const struct at_command *command = find(group, argv[help ? 2 : 1]);
    if (!command)
        return fail_unknown(cli, group, argv[help ? 2 : 1]);
    if (!help)
        return command->run(cli, argc - 1, argv + 1);
    char text[] = "--help", *ask[] = {argv[2], argc > 3 ? argv[3] : text, text, text}; // attune help data make emoji
    if (argc > 4)
        ask[2] = argv[4];
    return command->run(cli, argc > 4 ? 4 : argc - 1, ask);
}

bool at_cli_parse(struct at_cli *cli, struct at_options *options, int argc, char **argv)
{
    enum at_parse result = options ? at_options_parse(options, argc, argv) : AT_PARSE_BAD;
    cli->helped = result == AT_PARSE_HELP;
    return result == AT_PARSE_OK;
}

bool at_cli_print_json(struct at_cli *cli, struct at_json_doc *doc)
{
    char *text = doc ? at_json_text(doc, true) : NULL;
    bool ok = text && puts(text) >= 0;
    at_free(text);
    if (!ok && cli->log.error == AT_ERROR_NONE)
        return at_fail(&cli->log, AT_ERROR_FAILED, "stdout: the result cannot be written");
    return ok;
}

// A stream that the caller closed would lend its number to the next file opened, and messages would be written into
// that file. Reading from nothing takes the number instead; writing there fails, as it did before.
static void keep_numbers(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", O_RDONLY);
}

// ATTUNE_ALLOC_FAIL_AT=n makes the n-th allocation fail: tests see that none of them goes unnoticed.
static void plan_fault(void)
{
    const char *n = getenv("ATTUNE_ALLOC_FAIL_AT");
    at_alloc_fail_at(n ? strtoul(n, NULL, 10) : 0, false);
}

int main(int argc, char **argv)
{
    struct at_cli cli = {.log = {.level = AT_LEVEL_INFO, .write = write_log, .priv = &cli}};
    keep_numbers();
    plan_fault();
    signal(SIGPIPE, SIG_IGN); // a closed pipe is a failed write
    signal(SIGXFSZ, SIG_IGN); // so is a file that would be larger than ulimit -f allows
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts(AT_VERSION_TEXT);
    } else {
        bool done = at_group_run(&cli, &program, argc, argv);
        at_progress_end(&cli.progress);
        if (done || cli.helped)
            cli.log.error = AT_ERROR_NONE;
        else
            at_fail_unsaid(&cli.log);
    }
    if (at_alloc_failed() && cli.log.error == AT_ERROR_NONE)
        at_fail(&cli.log, AT_ERROR_FAILED, "ATTUNE_ALLOC_FAIL_AT: the program went on without that memory");
    if (fflush(stdout) != 0 && cli.log.error == AT_ERROR_NONE)
        at_fail(&cli.log, AT_ERROR_FAILED, "stdout: what was printed did not all arrive");
    return (int)cli.log.error;
}
