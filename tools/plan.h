// SPDX-License-Identifier: Apache-2.0
// attune plan: a command's job is tried on a dry device, and what it would take is printed instead of done.
#ifndef TOOLS_PLAN_H
#define TOOLS_PLAN_H

#include "pipelines/train/train.h"
#include "tools/cli.h"
#include "tools/device.h"

struct at_planning {
    bool json;
    struct at_device *real; // what the job would run on
    struct at_forecast forecast;
};

// The device that the options choose; while planning, a dry one like it. Closed by at_device_close.
struct at_device *at_cli_device(struct at_cli *cli, const struct at_device_choice *choice);
// What the job took on its dry device.
AT_NODISCARD bool at_plan_print_training(struct at_cli *cli, const struct at_device *dry,
                                         const struct at_train_params *params);
AT_NODISCARD bool at_plan_print_sampling(struct at_cli *cli, const struct at_device *dry);

#endif
