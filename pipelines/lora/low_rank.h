// SPDX-License-Identifier: Apache-2.0
// The product of two thin matrices that is nearest to a matrix.
#ifndef PIPELINES_LORA_LOW_RANK_H
#define PIPELINES_LORA_LOW_RANK_H

#include "core/base/log.h"

#include <stdint.h>

// up (m,rank) down (rank,n) near a (m,n), rank at most the smaller of m and n: the largest singular values, each shared
// equally by the two, found by subspace iteration (Halko, Martinsson, Tropp 2011, algorithms 4.4 and 5.1) from noise of
// this seed. *kept is what of the sum of squares of `a` is in the product. One thread. False: no memory, nothing logged.
AT_NODISCARD bool at_low_rank(const float *a, int64_t m, int64_t n, int rank, uint64_t seed, float *up, float *down,
                              double *kept);

#endif
