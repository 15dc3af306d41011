// SPDX-License-Identifier: Apache-2.0
// What a model computed, kept on disk by content: a file's name is the SHA-256 of the input, of the weights, and of what
// was computed. Latents of pictures and hidden states of texts are found again whatever pair or run they belong to.
//
//     struct at_cache *c = at_cache_open(&m->vae_params, 1, "moments", dir);   // reads the weights
//     struct at_cache_rows r = {images, bytes_each, n, moments, floats_each, encode, m};
//     ok = c && at_cache_rows(c, &r);                                          // calls encode for what is missing
#ifndef PIPELINES_TRAIN_CACHE_H
#define PIPELINES_TRAIN_CACHE_H

#include "core/models/params.h"

struct at_cache;

// Of what `count` sets of weights compute together. `dir` is made if it is missing; NULL: nothing is kept, and every row
// is computed. NULL on failure.
struct at_cache *at_cache_open(struct at_params *const *weights, int count, const char *what, const char *dir);
void at_cache_close(struct at_cache **cache);

// n rows of `floats` floats, each from `bytes` bytes of input.
struct at_cache_rows {
    const void *in;
    size_t bytes;
    int n;
    float *out;
    size_t floats;
    bool (*compute)(void *priv, const void *in, int n, float *out);
    void *priv;
};
// Reads the rows that the cache has, computes the others in one call and adds them. A file that does not read is
// computed anew.
AT_NODISCARD bool at_cache_rows(struct at_cache *cache, const struct at_cache_rows *rows);

#endif
