// SPDX-License-Identifier: Apache-2.0
// The options of an adapter to train: --rank, --alpha, --target, --lora, --text-encoder, --text-lr.
#ifndef TOOLS_ADAPTER_OPTION_H
#define TOOLS_ADAPTER_OPTION_H

#include "pipelines/lora/lora.h"
#include "tools/options.h"

struct at_adapter_choice {
    struct at_lora_params lora;
    double text_lr; // 0: the learning rate
    const char *no_rank; // what a rank that is not given stands for, in the help
    struct at_texts targets;
    const char **list; // the targets, NULL at the end
};

void at_adapter_options(struct at_options *options, struct at_adapter_choice *choice);
// Whether any of them was given.
bool at_adapter_given(const struct at_adapter_choice *choice);
// After parsing: completes `lora`, which then points into the choice. False: a usage error.
AT_NODISCARD bool at_adapter_complete(struct at_adapter_choice *choice, struct at_log *log);
void at_adapter_choice_finish(struct at_adapter_choice *choice);

#endif
