// SPDX-License-Identifier: Apache-2.0
// The ceiling of arithmetic: chains of multiply-adds in registers. out: one double, the FLOPs that were done.
#include "core/cpu/kernel.h"

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define LANES (BYTES / (int)sizeof(real))
#define CHAINS 12 // past latency times throughput, within the registers
#define ROUNDS 1000000

typedef real vec __attribute__((vector_size(BYTES)));

AT_HOST(fma)
{
    vec sums[CHAINS], x = (vec){0} + (real)0.5, y = (vec){0} + (real)1;
    for (int i = 0; i < CHAINS; i++)
        sums[i] = (vec){0} + (real)i;
    for (int r = 0; r < ROUNDS; r++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sums[i] = sums[i] * x + y;
    volatile real kept = 0;
    for (int i = 0; i < CHAINS; i++)
        kept = sums[i][0];
    (void)kept;
    *(double *)k->out = 2.0 * LANES * CHAINS * ROUNDS;
}
