// SPDX-License-Identifier: Apache-2.0
// --preview N, --preview-vae DIR, --preview-keep: pictures in the making, as files to look at meanwhile.
#ifndef TOOLS_PREVIEW_OPTION_H
#define TOOLS_PREVIEW_OPTION_H

#include "pipelines/sample/preview.h"
#include "tools/options.h"

struct at_preview_choice {
    int every; // steps; 0: none
    const char *vae;
    bool keep;

    struct at_preview *preview; // NULL: none
    struct at_log *log;
    char *path, *folder;   // of the one file that is replaced, and of all that are kept
    const int64_t *number; // of the next picture
    bool said;
};

void at_preview_options(struct at_options *options, struct at_preview_choice *choice);
// A usage error if an option has no use.
AT_NODISCARD bool at_preview_check(const struct at_preview_choice *choice, struct at_log *log);
// Opens what was chosen, for pictures in the folder `out`, or in the one file `out` if `file`. No file is touched.
AT_NODISCARD bool at_preview_choose(struct at_preview_choice *choice, struct at_model *m, const char *out, bool file,
                                    const int64_t *number);
// Frees it, and with `done` takes away the one file: what it promised is there.
void at_preview_finish(struct at_preview_choice *choice, bool done);

#endif
