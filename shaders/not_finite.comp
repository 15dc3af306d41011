// SPDX-License-Identifier: Apache-2.0
// first[0] = min(first[0], step) if one of the n values of x is not finite: all bits of its exponent are set.
// Constants: 0 workgroup, 1 whether x holds n pairs of halves instead.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"

layout(constant_id = 1) const uint HALVES = 0;

layout(push_constant, std430) uniform Push
{
    U32 x, first; // (n), (1)
    uint n, step;
};

bool not_finite(uint word)
{
    if (HALVES == 0)
        return (word & 0x7f800000u) == 0x7f800000u;
    return (word & 0x7c00u) == 0x7c00u || (word & 0x7c000000u) == 0x7c000000u;
}

void main()
{
    bool bad = false;
    for (uint i = grid_first(); i < n; i += grid_step())
        bad = bad || not_finite(x.v[i]);
    if (bad)
        atomicMin(first.v[0], step);
}
