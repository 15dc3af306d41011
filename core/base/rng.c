// SPDX-License-Identifier: Apache-2.0
#include "core/base/rng.h"

#include <math.h>

void at_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out[4])
{
    uint32_t c[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[0] = n0;
        c[1] = (uint32_t)p1;
        c[2] = n2;
        c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}

static double unit53(uint32_t hi, uint32_t lo)
{
    return (double)((((uint64_t)hi << 32) | lo) >> 11) * 0x1p-53;
}

double at_rng_uniform(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t r[4];
    at_philox(seed, stream, index, r);
    return unit53(r[0], r[1]);
}

uint64_t at_rng_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n)
{
    uint64_t k = (uint64_t)(at_rng_uniform(seed, stream, index) * (double)n);
    return k < n ? k : n - 1;
}

void at_rng_normal(float *out, size_t n, uint64_t seed, uint64_t stream, uint64_t sample)
{
    for (size_t i = 0; i < n; i += 2) {
        uint32_t r[4];
        at_philox(seed, stream, (sample << 32) + i / 2, r);
        double radius = sqrt(-2 * log(1 - unit53(r[0], r[1]))), angle = 6.283185307179586477 * unit53(r[2], r[3]);
        out[i] = (float)(radius * cos(angle));
        if (i + 1 < n)
            out[i + 1] = (float)(radius * sin(angle));
    }
}

void at_rng_shuffle(uint32_t *out, uint32_t n, uint64_t seed, uint64_t stream, uint64_t round)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)at_rng_below(seed, stream, (round << 32) + i, i), t = out[i - 1];
        out[i - 1] = out[j];
        out[j] = t;
    }
}
