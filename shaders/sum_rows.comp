// SPDX-License-Identifier: Apache-2.0
// Column sums: x (outer, middle, C) -> y (outer, chunks, C): the middle is cut into chunks of about equal size.
// A workgroup sums one chunk of LANES columns: its invocations are LANES columns times workgroup / LANES rows.
//   KIND 0: y is the sum of x.
//   KIND 1: for the adjoints of a norm, y (outer, chunks, 2, C): the sums of e xhat and of e; x is dy and z the norm's
//   input, xhat = (z - mean) rstd, e = dy act'(gamma xhat + beta) with ACT, else dy; of row r and
//   channel c mean and rstd are stats[2 j], stats[2 j + 1], j = r / hw groups + c / width.
// Constants: 0 workgroup, a power of two, 1 lanes, a power of two up to the workgroup, 2 kind, 3 activation.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"
#include "lib/act.glsl"

layout(constant_id = 1) const uint LANES = 32;
layout(constant_id = 2) const uint KIND = 0;
layout(constant_id = 3) const uint ACT = 0;

layout(push_constant, std430) uniform Push
{
    F32 x, z, stats, gamma, beta, y;
    uint outer, middle, c, chunks, hw, groups, width;
};

shared vec2 sums[gl_WorkGroupSize.x];

vec2 value(uint row, uint k)
{
    float e = x.v[row * c + k];
    if (KIND == 0)
        return vec2(e, 0);
    uint j = row / hw * groups + k / width;
    float xhat = (z.v[row * c + k] - stats.v[2 * j]) * stats.v[2 * j + 1];
    if (ACT != 0)
        e *= act_slope(ACT, gamma.v[k] * xhat + beta.v[k]);
    return vec2(e * xhat, e);
}

void main()
{
    uint tiles = (c + LANES - 1) / LANES, id = gl_LocalInvocationID.x, height = gl_WorkGroupSize.x / LANES;
    for (uint g = grid_group(); g < outer * chunks * tiles; g += grid_groups()) {
        uint k = g % tiles * LANES + id % LANES, piece = g / tiles, chunk = piece % chunks;
        uint base = piece / chunks * middle, rows = middle / chunks, more = middle % chunks;
        uint begin = chunk * rows + min(chunk, more), end = begin + rows + (chunk < more ? 1 : 0);
        vec2 sum = vec2(0);
        if (k < c)
            for (uint row = begin + id / LANES; row < end; row += height)
                sum += value(base + row, k);
        barrier();
        sums[id] = sum;
        barrier();
        for (uint n = height / 2; n > 0; n /= 2) {
            if (id < n * LANES)
                sums[id] += sums[id + n * LANES];
            barrier();
        }
        if (id < LANES && k < c) {
            if (KIND == 0) {
                y.v[piece * c + k] = sums[id].x;
            } else {
                y.v[piece * 2 * c + k] = sums[id].x;
                y.v[piece * 2 * c + c + k] = sums[id].y;
            }
        }
    }
}
