// SPDX-License-Identifier: Apache-2.0
// --latents: pictures that begin from the latents of a file instead of from their seeds. Without a prompt the file's own
// are drawn, each from its latents, which is how attune invert goes back; else every prompt is drawn from all of them.
#ifndef TOOLS_LATENTS_OPTION_H
#define TOOLS_LATENTS_OPTION_H

#include "datasets/latents.h"
#include "tools/request.h"

struct at_latents_option {
    const char *path; // NULL: not asked for
    struct at_latents latents;
};

void at_latents_options(struct at_options *options, struct at_latents_option *l);
// Reads the file and fills in what the command line leaves open: prompts, the number of pictures a prompt, and, as the
// noise was made, steps, sampler, guidance and the negative prompt. Before at_request_read. The request refers to *l.
AT_NODISCARD bool at_latents_apply(struct at_latents_option *l, const struct at_options *options,
                                   struct at_request *request, struct at_log *log);
void at_latents_option_finish(struct at_latents_option *l);

// With the open model: sets the size of all pictures, and fails if the latents do not go with it. Nothing without --latents.
AT_NODISCARD bool at_latents_check(const struct at_request *request, const struct at_loaded *loaded,
                                   struct at_picture_note *notes, int total, struct at_log *log);
// The beginnings of `count` pictures, (count,h,w,C), freed with at_free; NULL (logged): no memory.
float *at_latents_gather(const struct at_latents *l, const struct at_picture_note *notes, int count, struct at_log *log);

#endif
