// SPDX-License-Identifier: Apache-2.0
// A small operand over rows: x is read as (outer, middle, C), i < n = outer middle C; y may be x.
//   KIND 0: y = x + b[outer, c]    b (outer, C)
//   KIND 1: y = x b[outer]         b (outer), C = 1
// Constants: 0 workgroup, 1 wide: C is a multiple of four and the addresses are aligned to four elements (KIND 1: the
// middle is a multiple of four, b is not read wide), 2 kind, 4 which of x, y (bits 0, 2) are of halves, with wide.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/fours.glsl"
#include "lib/grid.glsl"

layout(constant_id = 1) const uint WIDE = 0;
layout(constant_id = 2) const uint KIND = 0;
layout(constant_id = 4) const uint HALVES = 0;

layout(push_constant, std430) uniform Push
{
    F32 x, b, y;
    uint n, block, c; // block = middle C
};

void main()
{
    if (WIDE != 0) {
        for (uint i = grid_first(); i < n / 4; i += grid_step()) {
            uint outer = 4 * i / block;
            vec4 u = four_load(x, i, (HALVES & 1u) != 0);
            if (KIND == 0)
                u += F32x4(b).v[(outer * c + 4 * i % c) / 4];
            else
                u *= b.v[outer];
            four_store(y, i, u, (HALVES & 4u) != 0);
        }
        return;
    }
    for (uint i = grid_first(); i < n; i += grid_step()) {
        uint outer = i / block;
        y.v[i] = KIND == 0 ? x.v[i] + b.v[outer * c + i % c] : x.v[i] * b.v[outer];
    }
}
