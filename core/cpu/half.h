// SPDX-License-Identifier: Apache-2.0
// Halves as reals, in the kernel halves of ops. Exact; a subnormal f16 is a normal float.
#ifndef CORE_CPU_HALF_H
#define CORE_CPU_HALF_H

#include "core/cpu/kernel.h"

#ifdef AT_KERNEL

// Without a branch, so that loops over it vectorise.
static inline float at_half_f16(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } small, x;
    uint32_t m = h & 0x7fff;
    small.u = (m << 13) + (113u << 23); // 2^-14 (1 + m / 1024)
    small.f -= 0x1p-14f;
    uint32_t normal = (m << 13) + (m < 0x7c00 ? 112u << 23 : 224u << 23);
    x.u = (m < 0x400 ? small.u : normal) | (uint32_t)(h & 0x8000) << 16;
    return x.f;
}

static inline float at_half_bf16(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } x = {.u = (uint32_t)h << 16};
    return x.f;
}

// Element i of a tensor of `type`: its address, and its value.
static inline const void *at_element(const void *base, enum at_dtype type, int64_t i)
{
    return (const char *)base + i * (int64_t)at_dtype_size(type, sizeof(real));
}

static inline real at_element_value(const void *base, enum at_dtype type, int64_t i)
{
    if (!at_dtype_half(type))
        return ((const real *)base)[i];
    uint16_t h = ((const uint16_t *)base)[i];
    return type == AT_F16 ? at_half_f16(h) : at_half_bf16(h);
}

#endif // AT_KERNEL

#endif
