// SPDX-License-Identifier: Apache-2.0
// The random normals of torch's generator on the CPU, so that a seed draws there and here the same.
//
//     struct at_rng_torch g;
//     at_rng_torch_seed(&g, 42);              // torch.Generator().manual_seed(42)
//     at_rng_torch_normal(&g, x, 4 * 8 * 8);  // torch.randn(1, 4, 8, 8, generator=g), in float32
//
// The numbers behind the normals are the same to the bit. The normals are not: torch takes logarithm, sine and cosine
// from code that depends on the processor, here they are the C library's. Measured over a million normals against torch
// 2.15: 17% differ, by 4.8e-7 at most (a last bit of values up to 5); 2.2e-6 from what torch draws without AVX2.
#ifndef CORE_BASE_RNG_TORCH_H
#define CORE_BASE_RNG_TORCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AT_MT_WORDS 624

struct at_rng_torch {
    uint32_t state[AT_MT_WORDS]; // MT19937 (Matsumoto and Nishimura 1998)
    int at;                      // words of it that are spent
    bool has_second;             // a normal is left of a pair that was drawn in double
    double second;
};

// Of the seed only the low 32 bits count, as there.
void at_rng_torch_seed(struct at_rng_torch *g, uint64_t seed);
// The next 32 bits.
uint32_t at_rng_torch_next(struct at_rng_torch *g);
// n standard normals as one tensor of n float32 values: how they are drawn depends on n, so that two calls are not one
// of twice the size.
void at_rng_torch_normal(struct at_rng_torch *g, float *out, size_t n);

#endif
