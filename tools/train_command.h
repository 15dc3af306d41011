// SPDX-License-Identifier: Apache-2.0
// The methods of attune train, one file each: train_NAME.c.
#ifndef TOOLS_TRAIN_COMMAND_H
#define TOOLS_TRAIN_COMMAND_H

#include "tools/cli.h"

extern const struct at_command at_command_train_vae, at_command_train_base, at_command_train_dpo;

#endif
