// SPDX-License-Identifier: Apache-2.0
// --vae-tile auto|off|N.
#ifndef TOOLS_TILE_OPTION_H
#define TOOLS_TILE_OPTION_H

#include "tools/options.h"

// The row of the option; *text is where its word goes.
struct at_option at_tile_option(const char **text);
// The word as a setting of pipelines/tiles.h; NULL is auto. False: a usage error.
AT_NODISCARD bool at_tile_read(const char *text, int *setting, struct at_log *log);

#endif
