// SPDX-License-Identifier: Apache-2.0
// Tensors of f32 that a specialization constant may declare to be of f16 instead (core/graph/halve.h). Halves are read
// and written as words, so that no 16-bit storage is asked for: four elements at a time, or read one by one.
#ifndef LIB_FOURS_GLSL
#define LIB_FOURS_GLSL

// Rounds to nearest, ties to even, whatever the device does; what is beyond f16, and NaN, becomes infinite.
uvec2 four_bits(vec4 x)
{
    uvec4 u = floatBitsToUint(x), even = (u >> 13) & 1u;
    bvec4 fits = lessThan(u & 0x7fffffffu, uvec4(0x477ff000u)); // 65520
    u = mix((u & 0x80000000u) | 0x7f800000u, (u + 0xfffu + even) & 0xffffe000u, fits);
    x = uintBitsToFloat(u);
    return uvec2(packHalf2x16(x.xy), packHalf2x16(x.zw));
}

vec4 four_values(uvec2 u)
{
    return vec4(unpackHalf2x16(u.x), unpackHalf2x16(u.y));
}

// The i-th four of an array that is aligned to four of its elements.
vec4 four_load(F32 from, uint i, bool halves)
{
    if (halves)
        return four_values(U32x2(from).v[i]);
    return F32x4(from).v[i];
}

void four_store(F32 to, uint i, vec4 x, bool halves)
{
    if (halves)
        U32x2(to).v[i] = four_bits(x);
    else
        F32x4(to).v[i] = x;
}

// Element i of an array that is aligned to a word.
float one_load(F32 from, uint i, bool halves)
{
    if (halves)
        return unpackHalf2x16(U32(from).v[i / 2] >> ((i & 1u) * 16u)).x;
    return from.v[i];
}

#endif
