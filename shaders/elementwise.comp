// SPDX-License-Identifier: Apache-2.0
// y[i] = f(a[i], b[i]) for i < n; the formulas stand in f. y may be a or b.
// Constants: 0 workgroup, 1 wide: all addresses are aligned to four elements, 2 kind of f, 3 activation (enum at_act),
// 4 which of a, b, y (bits 0, 1, 2) are of halves, with wide and n a multiple of four.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/fours.glsl"
#include "lib/grid.glsl"
#include "lib/act.glsl"

layout(constant_id = 1) const uint WIDE = 0;
layout(constant_id = 2) const uint KIND = 0;
layout(constant_id = 3) const uint ACT = 0;
layout(constant_id = 4) const uint HALVES = 0;

layout(push_constant, std430) uniform Push
{
    F32 a, b, y; // (n); a or b of a kind that does not read them may be 0
    F32 scalars; // KIND 6: (1)
    uint n;
    float p, q;
};

// As enum at_map of core/ops/lowering.h.
float f(float u, float v, float rate)
{
    switch (KIND) {
    case 0:
        return u + v;
    case 1:
        return u * v;
    case 2:
        return p * u + q;
    case 3:
        return p;
    case 4:
        return act_apply(ACT, u);
    case 5:
        return u * act_slope(ACT, v);
    default:
        return u + rate * (v - u);
    }
}

void main()
{
    bool reads_a = KIND != 3, reads_b = KIND < 2 || KIND > 4;
    float rate = KIND == 6 ? 1.0 - scalars.v[0] : 0.0;
    uint fours = WIDE != 0 ? n / 4 : 0;
    for (uint i = grid_first(); i < fours; i += grid_step()) {
        vec4 u = vec4(0), v = vec4(0);
        if (reads_a)
            u = four_load(a, i, (HALVES & 1u) != 0);
        if (reads_b)
            v = four_load(b, i, (HALVES & 2u) != 0);
        four_store(y, i, vec4(f(u.x, v.x, rate), f(u.y, v.y, rate), f(u.z, v.z, rate), f(u.w, v.w, rate)),
                   (HALVES & 4u) != 0);
    }
    for (uint i = 4 * fours + grid_first(); i < n; i += grid_step()) {
        float u = 0, v = 0;
        if (reads_a)
            u = a.v[i];
        if (reads_b)
            v = b.v[i];
        y.v[i] = f(u, v, rate);
    }
}
