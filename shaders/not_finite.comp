// SPDX-License-Identifier: Apache-2.0
// first[0] = min(first[0], step) if one of the n values of x is not finite: all bits of its exponent are set.
// Constants: 0 workgroup.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"

layout(push_constant, std430) uniform Push
{
    U32 x, first; // (n), (1)
    uint n, step;
};

void main()
{
    bool bad = false;
    for (uint i = grid_first(); i < n; i += grid_step())
        bad = bad || (x.v[i] & 0x7f800000u) == 0x7f800000u;
    if (bad)
        atomicMin(first.v[0], step);
}
