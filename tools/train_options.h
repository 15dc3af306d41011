// SPDX-License-Identifier: Apache-2.0
// What every `attune train METHOD` takes, and how it is run.
#ifndef TOOLS_TRAIN_OPTIONS_H
#define TOOLS_TRAIN_OPTIONS_H

#include "pipelines/train/train_methods.h"
#include "tools/cli.h"
#include "tools/device.h"

struct at_train_job {
    struct at_cli *cli;
    const char *method;
    const char *lr_default; // what rate 0 stands for; NULL: nothing
    void *params;                  // the method's: struct at_train_dpo_params ...
    struct at_train_params *train; // in them
    // Sets defaults that depend on other options; may be NULL.
    bool (*complete)(void *params, struct at_log *log);
    bool (*start)(struct at_device *dev, const void *params, struct at_log *log);

    struct at_device_choice device;
    const char *methods[2];
    int method_index, schedule;
    const char *tile_word;
    bool quiet;
};

// Options of the loop, the optimiser and the device. The defaults stand in *job->train.
void at_train_options(struct at_options *options, struct at_train_job *job);
void at_picture_options(struct at_options *options, struct at_picture_source *data);
// Parses, opens the device and trains. Destroys the options, which may be NULL.
AT_NODISCARD bool at_train_run(struct at_train_job *job, struct at_options *options, int argc, char **argv);

#endif
