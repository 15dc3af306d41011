// SPDX-License-Identifier: Apache-2.0
// Sums over samples, in two steps. Step 1: part[s, k] = the sum of f over chunk k of sample s, by one workgroup; a
// chunk has `chunk` of the sample's `count` elements. Step 2 (KIND 5) adds up the `chunks` parts of each sample.
//   KIND 0: (a - b)^2   1: |a - b|   2: a^2   3: a
//   KIND 4: (mean^2 + exp(l) - 1 - l) / 2, a as rows [mean | l] of 2C channels; count = rows C; l clamped to -30 .. 20
//   KIND 6: m (a - b)^2 and, as a second value, m / C; m[i / C] is a mask
//   KIND 5: y[s] = scale part; PAIRS: part.x / (C part.y), or 0 where part.y is 0
// part is (samples, chunks), each one value, or two if PAIRS.
// Constants: 0 workgroup, a power of two, 1 pairs, 2 kind.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"
#include "lib/reduce.glsl"

layout(constant_id = 1) const uint PAIRS = 0;
layout(constant_id = 2) const uint KIND = 0;

layout(push_constant, std430) uniform Push
{
    F32 a, b, m, part, y;
    uint samples, count, chunk, chunks, c;
    float scale;
};

vec2 value(uint s, uint i)
{
    uint at = s * count + i;
    if (KIND == 4) {
        uint row = at / c, k = row * 2 * c + at % c;
        float mean = a.v[k], l = clamp(a.v[k + c], -30.0, 20.0);
        return vec2(0.5 * (mean * mean + exp(l) - 1.0 - l), 0);
    }
    float x = a.v[at];
    if (KIND == 2)
        return vec2(x * x, 0);
    if (KIND == 3)
        return vec2(x, 0);
    float d = x - b.v[at];
    if (KIND == 1)
        return vec2(abs(d), 0);
    if (KIND == 0)
        return vec2(d * d, 0);
    float w = m.v[at / c];
    return vec2(w * d * d, at % c == 0 ? w : 0.0);
}

void step1()
{
    for (uint g = grid_group(); g < samples * chunks; g += grid_groups()) {
        uint s = g / chunks, begin = g % chunks * chunk, end = min(begin + chunk, count);
        vec2 sum = vec2(0);
        for (uint i = begin + gl_LocalInvocationID.x; i < end; i += gl_WorkGroupSize.x)
            sum += value(s, i);
        sum = reduce_sum2(sum);
        if (gl_LocalInvocationID.x == 0) {
            if (PAIRS != 0) {
                part.v[2 * g] = sum.x;
                part.v[2 * g + 1] = sum.y;
            } else {
                part.v[g] = sum.x;
            }
        }
    }
}

void step2()
{
    for (uint s = grid_group(); s < samples; s += grid_groups()) {
        vec2 sum = vec2(0);
        for (uint k = gl_LocalInvocationID.x; k < chunks; k += gl_WorkGroupSize.x) {
            uint at = s * chunks + k;
            sum += PAIRS != 0 ? vec2(part.v[2 * at], part.v[2 * at + 1]) : vec2(part.v[at], 0);
        }
        sum = reduce_sum2(sum);
        if (gl_LocalInvocationID.x == 0)
            y.v[s] = PAIRS == 0 ? scale * sum.x : sum.y == 0.0 ? 0.0 : sum.x / (float(c) * sum.y);
    }
}

void main()
{
    if (KIND == 5)
        step2();
    else
        step1();
}
