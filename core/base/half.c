// SPDX-License-Identifier: Apache-2.0
#include "core/base/half.h"

#include <string.h>

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

uint16_t at_f16_from_f32(float x)
{
    uint32_t u = bits_of(x), sign = (u >> 16) & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000)
        return (uint16_t)(sign | 0x7e00); // NaN
    if (a >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00); // rounds to infinity
    if (a < 0x33000001)
        return (uint16_t)sign; // rounds to zero
    if (a < 0x38800000) {      // subnormal: shift the significand, keep what falls off for rounding
        uint32_t shift = 126 - (a >> 23), m = (a & 0x7fffff) | 0x800000;
        uint32_t q = m >> shift, rest = m & ((1u << shift) - 1), half = 1u << (shift - 1);
        q += rest > half || (rest == half && (q & 1));
        return (uint16_t)(sign | q);
    }
    uint32_t q = (a - 0x38000000) >> 13, rest = a & 0x1fff;
    q += rest > 0x1000 || (rest == 0x1000 && (q & 1));
    return (uint16_t)(sign | q);
}

float at_f32_from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = (h >> 10) & 31, m = h & 0x3ff;
    if (e == 31)
        return float_of(sign | 0x7f800000 | (m << 13));
    if (e)
        return float_of(sign | ((e + 112) << 23) | (m << 13));
    return float_of(sign | bits_of((float)m * 0x1p-24f));
}

uint16_t at_bf16_from_f32(float x)
{
    uint32_t u = bits_of(x);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

float at_f32_from_bf16(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}

float at_f32_odd_from_f64(double x)
{
    float near = (float)x;
    double back = (double)near;
    if (back == x || x != x)
        return near;
    uint32_t u = bits_of(near);
    if ((x > 0 && back > x) || (x < 0 && back < x)) // away from zero: the float below it
        u--;
    return float_of(u | 1);
}
