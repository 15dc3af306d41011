// SPDX-License-Identifier: Apache-2.0
// Inside of a model source; for this folder alone.
#ifndef PIPELINES_SOURCE_SOURCE_STATE_H
#define PIPELINES_SOURCE_SOURCE_STATE_H

#include "pipelines/source/model_source.h"

struct at_model_source {
    struct at_log *log;
    char *path;
    struct at_source_options options;
    struct at_json_doc *index;
    struct at_single *single; // of a file; NULL: a folder
};

#endif
