// SPDX-License-Identifier: Apache-2.0
// What attune bench measures, one file each: bench_NAME.c.
#ifndef TOOLS_BENCH_COMMAND_H
#define TOOLS_BENCH_COMMAND_H

#include "pipelines/bench/ceilings.h"
#include "tools/cli.h"

extern const struct at_command at_command_bench_ops, at_command_bench_model;

// The device and what it can do at most: as JSON into `into`, and as a line of text unless `quiet`.
void at_bench_head(const struct at_device *dev, const struct at_ceilings *ceilings, struct at_json into, bool quiet);

#endif
