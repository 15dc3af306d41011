// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_command.h"
static bool run(struct at_cli *cli, int argc, char **argv)
{
    (void)argc; (void)argv;
    return at_fail(&cli->log, AT_ERROR_FAILED, "later");
}
const struct at_command at_command_bench_model = {"model", "the steps of sampling and training with a model", run};
