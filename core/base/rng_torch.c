// SPDX-License-Identifier: Apache-2.0
#include "core/base/rng_torch.h"

#include <math.h>

#define SHIFT 397
#define BLOCK 16 // values that are transformed together

void at_rng_torch_seed(struct at_rng_torch *g, uint64_t seed)
{
    *g = (struct at_rng_torch){.at = AT_MT_WORDS};
    g->state[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < AT_MT_WORDS; i++)
        g->state[i] = 1812433253u * (g->state[i - 1] ^ (g->state[i - 1] >> 30)) + i;
}

static void renew(struct at_rng_torch *g)
{
    uint32_t *s = g->state;
    for (int i = 0; i < AT_MT_WORDS; i++) {
        uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % AT_MT_WORDS] & 0x7fffffffu);
        s[i] = s[(i + SHIFT) % AT_MT_WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    g->at = 0;
}

uint32_t at_rng_torch_next(struct at_rng_torch *g)
{
    if (g->at == AT_MT_WORDS)
        renew(g);
    uint32_t y = g->state[g->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

static float unit24(struct at_rng_torch *g)
{
    return (float)(at_rng_torch_next(g) & 0xffffff) * 0x1p-24f;
}

static double unit53(struct at_rng_torch *g)
{
    uint64_t high = at_rng_torch_next(g);
    return (double)(((high << 32) | at_rng_torch_next(g)) & (((uint64_t)1 << 53) - 1)) * 0x1p-53;
}

// Box-Muller in place: values i and i + 8 are a pair.
static void transform(float *x)
{
    for (int i = 0; i < BLOCK / 2; i++) {
        float radius = sqrtf(-2 * logf(1 - x[i])), angle = (float)(2 * M_PI) * x[i + BLOCK / 2];
        x[i] = radius * cosf(angle);
        x[i + BLOCK / 2] = radius * sinf(angle);
    }
}

// Of a short tensor: in double, the second of a pair waits for the next one.
static float single(struct at_rng_torch *g)
{
    if (g->has_second) {
        g->has_second = false;
        return (float)g->second;
    }
    double angle = 2 * M_PI * unit53(g), radius = sqrt(-2 * log1p(-unit53(g)));
    g->second = radius * sin(angle);
    g->has_second = true;
    return (float)(radius * cos(angle));
}

void at_rng_torch_normal(struct at_rng_torch *g, float *out, size_t n)
{
    if (n < BLOCK) {
        for (size_t i = 0; i < n; i++)
            out[i] = single(g);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = unit24(g);
    for (size_t i = 0; i + BLOCK <= n; i += BLOCK)
        transform(out + i);
    if (n % BLOCK == 0)
        return;
    float *last = out + n - BLOCK; // drawn anew, whole
    for (int i = 0; i < BLOCK; i++)
        last[i] = unit24(g);
    transform(last);
}
