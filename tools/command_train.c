// SPDX-License-Identifier: Apache-2.0
// attune train: the methods.
#include "tools/cli.h"
#include "tools/train_command.h"

static bool run(struct at_cli *cli, int argc, char **argv)
{
    static const struct at_command *const commands[] = {&at_command_train_dpo, &at_command_train_base,
                                                        &at_command_train_vae, NULL};
    static const struct at_command_group group = {
        .name = "attune train",
        .about = "Trains a model. Each method writes a run folder: run.json, metrics.jsonl, checkpoints and the result. "
                 "Ctrl+C saves a checkpoint; --resume goes on from it, bit by bit the same.",
        .commands = commands,
    };
    return at_group_run(cli, &group, argc, argv);
}

const struct at_command at_command_train = {"train", "trains with preferences (dpo), or from scratch (vae, base)", run};
