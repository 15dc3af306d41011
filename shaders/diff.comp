// SPDX-License-Identifier: Apache-2.0
// Differences of neighbours that lie `inner` elements apart, in blocks of `block` elements of y; n elements of y.
//   KIND 0: y[i] = x[i + inner] - x[i]; a block of x has `inner` more elements.
//   KIND 1, its adjoint: y[i] = x[i - inner] - x[i], outside counts as 0; a block of x has `inner` fewer.
// Constants: 0 workgroup, 1 unused, 2 kind.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"

layout(constant_id = 2) const uint KIND = 0;

layout(push_constant, std430) uniform Push
{
    F32 x, y;
    uint n, block, inner;
};

void main()
{
    for (uint i = grid_first(); i < n; i += grid_step()) {
        uint b = i / block, e = i % block;
        if (KIND == 0) {
            uint at = i + b * inner;
            y.v[i] = x.v[at + inner] - x.v[at];
        } else {
            uint at = i - b * inner;
            float v = 0;
            if (e >= inner)
                v = x.v[at - inner];
            if (e < block - inner)
                v -= x.v[at];
            y.v[i] = v;
        }
    }
}
