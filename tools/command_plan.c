// SPDX-License-Identifier: Apache-2.0
// attune plan: what a command would take, before it runs.
#include "tools/plan.h"

#include <string.h>

extern const struct at_command at_command_invert, at_command_sample, at_command_train;

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_command *const commands[] = {&at_command_sample, &at_command_invert, &at_command_train, NULL};
    static const struct at_command_group group = {
        .name = "attune plan",
        .about = "Memory and arithmetic of a command, before it runs: put plan in front of it. The memory of the "
                 "device is exact, that of the host but for a few MiB and drivers' own; the time is a lower bound. "
                 "Nothing is written. --json, right after plan, prints JSON.",
        .commands = commands,
        .example = "  attune plan train dpo -o runs/warm --batch 32 --memory-limit 200M\n"
                   "  attune plan --json sample -p \"red apple\" --count 16\n"
                   "  attune plan sample -m stable-diffusion-v1-5 -p \"a red kite\" --weights f16\n",
    };
    struct at_planning planning = {0};
    if (argc > 1 && strcmp(argv[1], "--json") == 0) {
        planning.json = true;
        argc--;
        argv++;
    }
    cli->planning = &planning;
    bool ok = at_group_run(cli, &group, argc, argv);
    cli->planning = NULL;
    at_device_close(&planning.real);
    return ok;
}

const struct at_command at_command_plan = {"plan", "what a command would take: memory, arithmetic, disk", run};
