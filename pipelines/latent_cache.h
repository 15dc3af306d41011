// SPDX-License-Identifier: Apache-2.0
// Encoded pictures on disk, keyed by content: SHA-256 of the pixels and of the autoencoder's weights.
#ifndef PIPELINES_LATENT_CACHE_H
#define PIPELINES_LATENT_CACHE_H

#include "pipelines/model.h"

struct at_latent_cache;

// `dir` is made if it is missing; NULL: nothing is kept.
struct at_latent_cache *at_latent_cache_open(struct at_model *m, const char *dir);
void at_latent_cache_close(struct at_latent_cache **cache);
// at_model_encode for n square pictures, reading what the cache has and adding what it lacks. A file in the cache that
// does not read is encoded anew.
AT_NODISCARD bool at_latent_cache_encode(struct at_latent_cache *cache, struct at_model *m, const float *images, int n,
                                         int size, float *moments);

#endif
