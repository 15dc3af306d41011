// SPDX-License-Identifier: Apache-2.0
// Two numbers for each group of a norm: x (n, hw, C), group j = sample groups + k holds channels k width up to, but
// without, (k + 1) width.
//   KIND 0: mean and sum of squared deviations from it (two passes) of chunk k, `rows` rows of a sample's hw, to
//           dst[2 (j chunks + k)] and the next, by one workgroup.
//   KIND 1: what KIND 0 left for the chunks of a group, in x, becomes that of the group (Chan, Golub & LeVeque 1983).
//   KIND 2: means over the group of gamma times sums over rows: x (n, 2, C), the second sum's mean before the first's.
// FINAL: dst[2 j], dst[2 j + 1] = mean, 1 / sqrt(variance + eps) (KIND 0, 1).
// Constants: 0 workgroup, a power of two, 1 wide: width is a multiple of four and x aligned to four elements, 2 kind,
// 3 final.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"
#include "lib/reduce.glsl"

layout(constant_id = 1) const uint WIDE = 0;
layout(constant_id = 2) const uint KIND = 0;
layout(constant_id = 3) const uint FINAL = 0;

layout(push_constant, std430) uniform Push
{
    F32 x, gamma, dst;
    uint n, hw, c, groups, width, rows, chunks;
    float eps;
};

vec4 load(F32 from, uint i)
{
    if (WIDE != 0)
        return F32x4(from).v[i / 4];
    return vec4(from.v[i], 0, 0, 0);
}

// A chunk: its first element, and how many it has.
struct Chunk {
    uint at, count;
};

// Elements of x are visited four at a time, or one: how many numbers of the vector count.
vec4 lanes()
{
    float rest = WIDE != 0 ? 1.0 : 0.0;
    return vec4(1, rest, rest, rest);
}

vec2 deviations(Chunk k)
{
    uint u = WIDE != 0 ? 4 : 1;
    float shift = x.v[k.at], sum = 0, square = 0;
    for (uint e = gl_LocalInvocationID.x * u; e < k.count; e += gl_WorkGroupSize.x * u)
        sum += dot(load(x, k.at + e / width * c + e % width) - shift, lanes());
    float mean = shift + reduce_sum(sum) / float(k.count);
    for (uint e = gl_LocalInvocationID.x * u; e < k.count; e += gl_WorkGroupSize.x * u) {
        vec4 d = (load(x, k.at + e / width * c + e % width) - mean) * lanes();
        square += dot(d, d);
    }
    return vec2(mean, reduce_sum(square));
}

void store(uint at, vec2 v, uint count)
{
    if (gl_LocalInvocationID.x != 0)
        return;
    if (KIND == 2)
        v /= float(count);
    else if (FINAL != 0)
        v.y = inversesqrt(v.y / float(count) + eps);
    dst.v[2 * at] = v.x;
    dst.v[2 * at + 1] = v.y;
}

uint rows_of(uint chunk)
{
    return min(rows, hw - chunk * rows);
}

vec2 merged(uint j)
{
    uint first = j * chunks, total = hw * width;
    vec2 sum = vec2(0);
    float shift = x.v[2 * first];
    for (uint k = gl_LocalInvocationID.x; k < chunks; k += gl_WorkGroupSize.x)
        sum.x += float(rows_of(k) * width) * (x.v[2 * (first + k)] - shift);
    float mean = shift + reduce_sum(sum.x) / float(total);
    for (uint k = gl_LocalInvocationID.x; k < chunks; k += gl_WorkGroupSize.x) {
        float d = x.v[2 * (first + k)] - mean;
        sum.y += x.v[2 * (first + k) + 1] + float(rows_of(k) * width) * d * d;
    }
    return vec2(mean, reduce_sum(sum.y));
}

// Of sums over rows: those of g and g xhat over a group.
vec2 weighted(uint j)
{
    uint sample_at = j / groups * 2 * c, first = j % groups * width;
    vec2 sum = vec2(0);
    for (uint k = first + gl_LocalInvocationID.x; k < first + width; k += gl_WorkGroupSize.x)
        sum += gamma.v[k] * vec2(x.v[sample_at + c + k], x.v[sample_at + k]);
    return reduce_sum2(sum);
}

void main()
{
    uint work = n * groups * (KIND == 0 ? chunks : 1);
    for (uint g = grid_group(); g < work; g += grid_groups()) {
        if (KIND == 0) {
            uint j = g / chunks, chunk = g % chunks, channel = j % groups * width;
            Chunk k = Chunk((j / groups * hw + chunk * rows) * c + channel, rows_of(chunk) * width);
            store(g, deviations(k), k.count);
        } else {
            store(g, KIND == 1 ? merged(g) : weighted(g), hw * width);
        }
    }
}
