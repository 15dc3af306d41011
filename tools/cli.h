// SPDX-License-Identifier: Apache-2.0
// What the subcommands share: the log, the progress line, Ctrl+C.
//
// A subcommand is a file tools/command_NAME.c that defines at_command_NAME, and its name in tools/meson.build.
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include "tools/options.h"
#include "tools/progress.h"

#define AT_VERSION_TEXT "attune " AT_VERSION

struct at_planning;

struct at_cli {
    struct at_log log;
    struct at_progress progress;
    bool helped; // --help was printed: nothing else is to be done
    struct at_planning *planning; // attune plan: the command is only tried, see plan.h. NULL: it works
};

struct at_command {
    const char *name;    // "sample"
    const char *summary; // one line
    // argv[0] is the subcommand. True if the work was done; else the reason is in cli->log.
    bool (*run)(struct at_cli *cli, int argc, char **argv);
};

// Several commands under one name: "attune train" with vae, base, dpo.
struct at_command_group {
    const char *name, *about;
    const struct at_command *const *commands; // NULL at the end
    const char *example;                      // may be NULL
};
// Runs the command that argv[1] names, or prints what there is.
AT_NODISCARD bool at_group_run(struct at_cli *cli, const struct at_command_group *group, int argc, char **argv);

// From the first call on SIGINT and SIGTERM set a flag, and the second one ends the program at once. Called where work
// begins that asks for the flag: at_progress_begin does it.
void at_signals_watch(void);
bool at_interrupted(void);

// at_options_parse. False when there is nothing to do: help was asked for, or the arguments are wrong. The options
// (NULL: false) are to be destroyed in each case.
AT_NODISCARD bool at_cli_parse(struct at_cli *cli, struct at_options *options, int argc, char **argv);

// Text on stdout, such as a result in JSON. A failed write is AT_ERROR_FAILED.
AT_NODISCARD bool at_cli_print_json(struct at_cli *cli, struct at_json_doc *doc);

#endif
