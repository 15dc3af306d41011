// SPDX-License-Identifier: Apache-2.0
// Arrays in device memory, reached by address. A push-constant block holds such an array as one 64-bit address, so no
// 64-bit arithmetic is needed in a shader. An index must stay below 2^31; an address is aligned to its element, those
// of the x4 kinds to four elements.
#ifndef LIB_TYPES_GLSL
#define LIB_TYPES_GLSL

#extension GL_EXT_buffer_reference : require

layout(buffer_reference, std430, buffer_reference_align = 4) buffer F32 { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer F32x4 { vec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer I32 { int v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 { uint v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer U32x2 { uvec2 v[]; };

// T is the storage type a kernel is built for (DTYPE_F32, DTYPE_F16 or DTYPE_BF16); arithmetic is always f32.
// t_load/t_store move one element, t_load4/t_store4 the i-th group of four through a T4.
#if defined(DTYPE_F16)
#extension GL_EXT_shader_16bit_storage : require
layout(buffer_reference, std430, buffer_reference_align = 2) buffer T { float16_t v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer T4 { f16vec4 v[]; };

float t_load(T p, uint i)
{
    return float(p.v[i]);
}

void t_store(T p, uint i, float x)
{
    p.v[i] = float16_t(x);
}

vec4 t_load4(T4 p, uint i)
{
    return vec4(p.v[i]);
}

void t_store4(T4 p, uint i, vec4 x)
{
    p.v[i] = f16vec4(x);
}

#elif defined(DTYPE_BF16)
#extension GL_EXT_shader_16bit_storage : require
layout(buffer_reference, std430, buffer_reference_align = 2) buffer T { uint16_t v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer T4 { uvec2 v[]; };

// Rounds to nearest even; a NaN stays a NaN.
uint bf16_bits(float x)
{
    uint u = floatBitsToUint(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (u >> 16) | 0x40u;
    return (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}

float t_load(T p, uint i)
{
    return uintBitsToFloat(uint(p.v[i]) << 16);
}

void t_store(T p, uint i, float x)
{
    p.v[i] = uint16_t(bf16_bits(x));
}

vec4 t_load4(T4 p, uint i)
{
    uvec2 u = p.v[i];
    return uintBitsToFloat(uvec4(u.x << 16, u.x & 0xffff0000u, u.y << 16, u.y & 0xffff0000u));
}

void t_store4(T4 p, uint i, vec4 x)
{
    p.v[i] = uvec2(bf16_bits(x.x) | bf16_bits(x.y) << 16, bf16_bits(x.z) | bf16_bits(x.w) << 16);
}

#else
#define T F32
#define T4 F32x4

float t_load(T p, uint i)
{
    return p.v[i];
}

void t_store(T p, uint i, float x)
{
    p.v[i] = x;
}

vec4 t_load4(T4 p, uint i)
{
    return p.v[i];
}

void t_store4(T4 p, uint i, vec4 x)
{
    p.v[i] = x;
}
#endif

#endif
