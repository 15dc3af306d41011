// SPDX-License-Identifier: Apache-2.0
// Writing a model in another form, with adapters in its weights or without: attune convert and attune lora merge.
#ifndef TOOLS_CONVERT_H
#define TOOLS_CONVERT_H

#include "pipelines/source/model_source.h"
#include "tools/cli.h"

struct at_convert {
    const char *model, *out;
    struct at_source_options reading;
    int dtype;
    bool quiet, force;
};

// -m, -o, --dtype, --force, --quiet and how the model is read.
void at_convert_options(struct at_options *options, struct at_convert *convert);
// `loras` (may be NULL): FILE[:SCALE] each, besides those in the model's word.
AT_NODISCARD bool at_convert_run(struct at_cli *cli, const struct at_convert *convert, const struct at_texts *loras);

#endif
