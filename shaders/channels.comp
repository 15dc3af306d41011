// SPDX-License-Identifier: Apache-2.0
// Moves channels: y (rows, C) has in channels lo .. hi-1 those of a (rows, A) from channel `first` on; elsewhere 0, or
// from channel hi on those of b (rows, C - hi) where there is one.
// slice: lo = 0, hi = C. unslice: first = 0, no b. concat: lo = first = 0, hi = A.
// Constants: 0 workgroup, 1 wide: all addresses and channel numbers are multiples of four elements, 2 whether b is
// there, 4 which of a, b, y (bits 0, 1, 2) are of halves, with wide.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/fours.glsl"
#include "lib/grid.glsl"

layout(constant_id = 1) const uint WIDE = 0;
layout(constant_id = 2) const uint HAS_B = 0;
layout(constant_id = 4) const uint HALVES = 0;

layout(push_constant, std430) uniform Push
{
    F32 a, b, y;
    uint rows, c, from, first, lo, hi; // from = A
};

void main()
{
    // All counts and channels below are in elements, or in groups of four.
    uint u = WIDE != 0 ? 4 : 1, width = c / u, n = rows * width, begin = lo / u, end = hi / u;
    for (uint i = grid_first(); i < n; i += grid_step()) {
        uint row = i / width, k = i % width;
        bool in_a = k >= begin && k < end, in_b = HAS_B != 0 && k >= end;
        uint at = in_a ? row * (from / u) + k - begin + first / u : row * (width - end) + k - end;
        if (WIDE != 0) {
            vec4 v = vec4(0);
            if (in_a)
                v = four_load(a, at, (HALVES & 1u) != 0);
            else if (in_b)
                v = four_load(b, at, (HALVES & 2u) != 0);
            four_store(y, i, v, (HALVES & 4u) != 0);
        } else {
            float v = 0;
            if (in_a)
                v = a.v[at];
            else if (in_b)
                v = b.v[at];
            y.v[i] = v;
        }
    }
}
