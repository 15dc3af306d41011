// SPDX-License-Identifier: Apache-2.0
// What attune data make makes, one file each: make_NAME.c; the emoji are in command_data.c.
#ifndef TOOLS_MAKE_COMMAND_H
#define TOOLS_MAKE_COMMAND_H

#include "tools/cli.h"

extern const struct at_command at_command_make_pairs, at_command_make_tokenizer;

#endif
