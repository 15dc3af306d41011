// SPDX-License-Identifier: Apache-2.0
// Captions as the graphs of a training read them. Where text encoders are trained they are part of the graph, which
// reads tokens; else each different caption is encoded once, and the graph reads rows (condition.h).
//
//     struct at_captions *c = at_captions_create(m, &(struct at_captions_params){.items = 2, .train = &p->train});
//     ok = c && at_captions_add(c, "a red kite", &number) && at_captions_encode(c, NULL);
//     ... a graph: at_captions_inputs, at_captions_unet ...
//     at_captions_put(c, 0, number, &sizes);       // item 0 of the batch
//     at_captions_ports(c, in);                    // what the graph's inputs are given
#ifndef PIPELINES_TRAIN_CAPTIONS_H
#define PIPELINES_TRAIN_CAPTIONS_H

#include "pipelines/model/condition.h"
#include "pipelines/model/text.h"
#include "pipelines/train/train.h"

#define AT_CAPTION_EMPTY 0 // number of ""
#define AT_CAPTION_PORTS (AT_TEXT_PORTS + 1)

struct at_captions;

struct at_captions_params {
    int items;     // of a batch
    bool in_graph; // the text encoders, with what at_text_adapt set
    struct at_text_params text;
    const struct at_train_params *train; // asked while captions are encoded whether to go on; NULL: always
};

// "" is there from the beginning. The model must keep its text encoders while captions are added and encoded, and, if
// `in_graph`, while graphs run.
struct at_captions *at_captions_create(struct at_model *m, const struct at_captions_params *params);
void at_captions_destroy(struct at_captions **captions);
// Equal captions have one number.
AT_NODISCARD bool at_captions_add(struct at_captions *c, const char *caption, int32_t *number);
// After the last one: encodes all, with rows kept in the folder `cache` (cache.h; NULL: none). Nothing to do if
// `in_graph`.
AT_NODISCARD bool at_captions_encode(struct at_captions *c, const char *cache);
// The row of text (text.h) of a caption; NULL if `in_graph`.
const float *at_captions_row(const struct at_captions *c, int32_t number);

// Appends the inputs for `batch` items to `in`; returns how many.
int at_captions_inputs(const struct at_captions *c, struct at_graph *g, int batch, struct at_node **in);
// The denoiser that `unet` builds on x (N,h,w,C) at timesteps t (N), told of captions and sizes by those inputs.
struct at_node *at_captions_unet(const struct at_captions *c, struct at_builder *unet, struct at_node *x,
                                 struct at_node *t, struct at_node *const *in);
// Item i of the batch: its caption, and its sizes for models that read them.
void at_captions_put(struct at_captions *c, int i, int32_t number, const struct at_sizes *sizes);
// The same with a row of condition.h as it is; not if `in_graph`.
void at_captions_tell(struct at_captions *c, int i, const float *row);
// The batch as at_captions_inputs wants it, good until the next put; returns how many ports.
int at_captions_ports(struct at_captions *c, const void **in);

#endif
