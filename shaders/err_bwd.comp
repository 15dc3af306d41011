// SPDX-License-Identifier: Apache-2.0
// Adjoints of the errors of a sample, for y (samples, count) against t; z may be y or t; n = samples count.
//   KIND 0: z = 2 dm[s] (y - t) / count      KIND 1: z = dm[s] sign(y - t) / count
//   KIND 2: z = 2 dm[s] m[i / C] (y - t) / (C w[s]), or 0 where w[s] is 0; m is a mask and w[s] its sum
// Constants: 0 workgroup, 1 wide: count is a multiple of four (KIND 2: C too), y, t, z aligned to four elements,
// 2 kind.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"

layout(constant_id = 1) const uint WIDE = 0;
layout(constant_id = 2) const uint KIND = 0;

layout(push_constant, std430) uniform Push
{
    F32 dm, y, t, m, w, z;
    uint n, count, c;
};

vec4 load(F32 from, uint i)
{
    if (WIDE != 0)
        return F32x4(from).v[i];
    return vec4(from.v[i], 0, 0, 0);
}

void main()
{
    uint u = WIDE != 0 ? 4 : 1;
    for (uint i = grid_first(); i < n / u; i += grid_step()) {
        uint s = i * u / count;
        vec4 d = load(y, i) - load(t, i);
        float f = dm.v[s];
        if (KIND == 0) {
            f *= 2.0 / float(count);
        } else if (KIND == 1) {
            d = sign(d);
            f /= float(count);
        } else {
            float total = w.v[s];
            f = total == 0.0 ? 0.0 : 2.0 * f * m.v[i * u / c] / (float(c) * total);
        }
        if (WIDE != 0)
            F32x4(z).v[i] = f * d;
        else
            z.v[i] = f * d.x;
    }
}
