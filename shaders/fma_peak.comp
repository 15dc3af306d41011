// SPDX-License-Identifier: Apache-2.0
// The ceiling of arithmetic: sixteen independent chains x = a x + b an invocation, each `rounds` long, that is
// 32 * rounds FLOPs an invocation. dst[i] is the sum of the chains of invocation i, stored only below n.
// With a = 1/2 and b = 1/2 every chain tends to 1 and dst to 16, which shows that the loop ran.
// Constants: 0 workgroup.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"

layout(push_constant, std430) uniform Push
{
    F32 dst; // (n)
    uint n, rounds;
    float a, b;
};

void main()
{
    for (uint i = grid_first(); i < n; i += grid_step()) {
        vec4 x0 = vec4(float(i & 7u)), x1 = x0 + 1.0, x2 = x0 + 2.0, x3 = x0 + 3.0;
        for (uint r = 0; r < rounds; r++) {
            x0 = fma(x0, vec4(a), vec4(b));
            x1 = fma(x1, vec4(a), vec4(b));
            x2 = fma(x2, vec4(a), vec4(b));
            x3 = fma(x3, vec4(a), vec4(b));
        }
        vec4 s = (x0 + x1) + (x2 + x3);
        dst.v[i] = (s.x + s.y) + (s.z + s.w);
    }
}
