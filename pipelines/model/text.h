// SPDX-License-Identifier: Apache-2.0
// Prompts to rows of floats: the hidden states (L,D) of a model's text encoders side by side, then what is pooled of
// the last one (P; only where there are two, as in SDXL).
//
//     float *rows = at_calloc(2 * at_text_floats(m), sizeof(float));
//     ok = at_text_embed(m, (const char *[]){"a red kite", ""}, 2, NULL, rows);
#ifndef PIPELINES_MODEL_TEXT_H
#define PIPELINES_MODEL_TEXT_H

#include "pipelines/model/model.h"

struct at_text_params {
    int clip_skip; // layers left out at the end, beside those the model itself leaves out
};

// Tokens a prompt is padded to: L.
int at_text_tokens(const struct at_model *m);
// Integers a tokenised prompt: L ids an encoder and, where something is pooled, the place of the last one's end token.
int at_text_ids(const struct at_model *m);
// Floats of a row: L D + P.
size_t at_text_floats(const struct at_model *m);

// The integers of one prompt. A prompt that is cut is warned about with the part that was lost.
AT_NODISCARD bool at_text_tokenize(const struct at_model *m, const char *prompt, int32_t *ids);
// The text encoder of this number works with these adapters from now on; they are copied, what they point to must stay.
// count 0: none.
void at_text_adapt(struct at_model *m, int encoder, const struct at_adapter *adapters, int count);

// Whether the text encoders have so many layers.
AT_NODISCARD bool at_text_check(const struct at_model *m, const struct at_text_params *params);
// Rows of n tokenised prompts (n,ids). params NULL: all 0; else they are checked.
AT_NODISCARD bool at_text_encode(struct at_model *m, const int32_t *ids, int n, const struct at_text_params *params,
                                 float *rows);
// Rows of n prompts; NULL stands for no prompt: "", or zeros where the model wants that (zero_empty).
AT_NODISCARD bool at_text_embed(struct at_model *m, const char *const *prompts, int n,
                                const struct at_text_params *params, float *rows);

// --- in graphs ------------------------------------------------------------------------------------------------------
#define AT_TEXT_PORTS (AT_TEXTS + 1) // ids (N,L) of each encoder, then end (N) where something is pooled

// Appends the inputs for `batch` prompts to `in`, as many as the model has; returns how many.
int at_text_inputs(const struct at_model *m, struct at_graph *g, int batch, struct at_node **in);
// Hidden states (N,L,D) from them, with the model's adapters, in the graph and with the replica and the gate of `like`.
// *pooled (N,P), or NULL where the model has none.
struct at_node *at_text_graph(const struct at_model *m, const struct at_builder *like,
                              const struct at_text_params *params, struct at_node *const *in, struct at_node **pooled);
// n tokenised prompts (n,ids) as the ports want them, into `out`, which points into `store` (n * ids integers); returns
// how many.
int at_text_split(const struct at_model *m, const int32_t *ids, int n, int32_t *store, const void **out);

#endif
