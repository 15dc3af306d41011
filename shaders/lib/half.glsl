// SPDX-License-Identifier: Apache-2.0
// Weights of halves (DTYPE_WF16, DTYPE_WBF16, and their _LANES), read as words of two: no 16-bit storage is asked for.
// An array of them is aligned to a word; W is its type, F32 without halves.
#ifndef LIB_HALF_GLSL
#define LIB_HALF_GLSL

#if defined(DTYPE_WF16) || defined(DTYPE_WF16_LANES)
#define HALF
#define W U32

// The halves of a word, the lower first.
vec2 half_pair(uint word)
{
    return unpackHalf2x16(word);
}

float half_one(uint word, bool upper)
{
    uint shift = upper ? 16u : 0u;
    return unpackHalf2x16(word >> shift).x;
}
#elif defined(DTYPE_WBF16) || defined(DTYPE_WBF16_LANES)
#define HALF
#define W U32

vec2 half_pair(uint word)
{
    return uintBitsToFloat(uvec2(word << 16, word & 0xffff0000u));
}

float half_one(uint word, bool upper)
{
    uint bits = word << 16;
    return uintBitsToFloat(upper ? word & 0xffff0000u : bits);
}
#else
#define W F32
#endif

#endif
