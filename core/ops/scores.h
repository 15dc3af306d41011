// SPDX-License-Identifier: Apache-2.0
// Attention on Vulkan by parts: the scores of some queries of some heads at a time, in scratch of bounded size. What
// attention and attention_bwd share.
#ifndef CORE_OPS_SCORES_H
#define CORE_OPS_SCORES_H

#include "core/ops/product.h"

// Heads of all samples are counted through: z = sample * heads + head.
struct at_scores {
    int64_t lq, lk, heads, d, width, all; // all: samples * heads
    int64_t most_rows, most_heads;        // of a part
    // The part: queries [first, first + rows) of heads [z, z + count), which are either of one sample or all of some.
    int64_t first, rows, z, count;
};

// Bytes of `buffers` score matrices of one part.
size_t at_scores_bytes(const struct at_node *node, int buffers);
// To call until it gives false; starts from {0} and goes through all parts, a head's queries in order.
bool at_scores_next(struct at_scores *p, const struct at_node *node, int buffers);

// A tensor like q or like k: its address, and whether it is of halves.
struct at_scores_tensor {
    uint64_t at;
    bool half;
};
struct at_scores_tensor at_scores_in(const struct at_lower *l, int i); // input i
// Addresses of the part's first query, or of its first head's keys.
uint64_t at_scores_queries(const struct at_scores *p, struct at_scores_tensor q);
uint64_t at_scores_keys(const struct at_scores *p, struct at_scores_tensor k);

enum at_scores_product {
    AT_SCORES_QK, // s (rows,lk) = alpha q k^T, likewise dp = dy v^T
    AT_SCORES_SK, // q-like (rows,d) = alpha s k
    AT_SCORES_SQ, // k-like (lk,d) = alpha s^T q, added to what is there if `first` is not 0
};
// One of these for all heads of the part; q and k are tensors like q and k, s scores.
AT_NODISCARD bool at_lower_scores(struct at_lower *l, const struct at_scores *p, enum at_scores_product product,
                                  uint64_t s, struct at_scores_tensor q, struct at_scores_tensor k, float alpha);
// s = softmax of the part's scores, row by row.
AT_NODISCARD bool at_lower_softmax(struct at_lower *l, const struct at_scores *p, uint64_t s);
// dp = s (dp - sum over the row of dy y); y and dy are tensors like q.
AT_NODISCARD bool at_lower_softmax_bwd(struct at_lower *l, const struct at_scores *p, uint64_t s, uint64_t dp,
                                       struct at_scores_tensor y, struct at_scores_tensor dy);

#endif
