// SPDX-License-Identifier: Apache-2.0
// Rows of two halves: m (rows, 2C) = [p | q], o (rows, C), n = rows C. l = q clamped to -30 .. 20.
//   KIND 0: y = p gelu(q)                                                (rows, C)
//   KIND 1: y = [o gelu(q) | o p gelu'(q)]                               (rows, 2C); may be m
//   KIND 2: y = p + exp(l / 2) o                                         (rows, C)
//   KIND 3: y = [o | o r exp(l / 2) / 2, 0 where q is clamped]           (rows, 2C); r (rows, C); may be m
//   KIND 4: y = d [p | (exp(l) - 1) / 2, 0 where q is clamped]           (rows, 2C); d = o[row / per]; may be m
// Constants: 0 workgroup, 1 wide: C is a multiple of four, the addresses are aligned to four elements, 2 kind,
// 4 which of m, y (bits 0, 2) are of halves, with wide (f16, no relation to the halves of a row).
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/fours.glsl"
#include "lib/grid.glsl"
#include "lib/act.glsl"

layout(constant_id = 1) const uint WIDE = 0;
layout(constant_id = 2) const uint KIND = 0;
layout(constant_id = 4) const uint HALVES = 0;

layout(push_constant, std430) uniform Push
{
    F32 m, o, r, y;
    uint n, c, per;
};


// First half of y, or y itself where it has C channels.
float first_half(float p, float q, float s, float t)
{
    switch (KIND) {
    case 0:
        return p * act_gelu(q);
    case 1:
        return s * act_gelu(q);
    case 2:
        return p + exp(0.5 * clamp(q, -30.0, 20.0)) * s;
    case 3:
        return s;
    default:
        return s * p;
    }
}

float second_half(float p, float q, float s, float t)
{
    if (KIND == 1)
        return s * p * act_gelu_slope(q);
    if (q < -30.0 || q > 20.0)
        return 0.0;
    return KIND == 3 ? 0.5 * s * t * exp(0.5 * q) : 0.5 * s * (exp(q) - 1.0);
}

void wide(uint i)
{
    uint w = c / 4, row = i / w, k = i % w, at = row * 2 * w + k;
    bool m_halves = (HALVES & 1u) != 0, y_halves = (HALVES & 4u) != 0;
    vec4 p = four_load(m, at, m_halves), q = four_load(m, at + w, m_halves), s = vec4(0), t = vec4(0);
    if (KIND == 4)
        s = vec4(o.v[row / per]);
    else if (KIND != 0)
        s = F32x4(o).v[i];
    if (KIND == 3)
        t = F32x4(r).v[i];
    vec4 a = vec4(first_half(p.x, q.x, s.x, t.x), first_half(p.y, q.y, s.y, t.y), first_half(p.z, q.z, s.z, t.z),
                  first_half(p.w, q.w, s.w, t.w));
    if (KIND == 0 || KIND == 2) {
        four_store(y, i, a, y_halves);
        return;
    }
    vec4 b = vec4(second_half(p.x, q.x, s.x, t.x), second_half(p.y, q.y, s.y, t.y), second_half(p.z, q.z, s.z, t.z),
                  second_half(p.w, q.w, s.w, t.w));
    four_store(y, at, a, y_halves);
    four_store(y, at + w, b, y_halves);
}

void narrow(uint i)
{
    uint row = i / c, at = row * c + i;
    float p = m.v[at], q = m.v[at + c], s = 0, t = 0;
    if (KIND == 4)
        s = o.v[row / per];
    else if (KIND != 0)
        s = o.v[i];
    if (KIND == 3)
        t = r.v[i];
    float a = first_half(p, q, s, t);
    if (KIND == 0 || KIND == 2) {
        y.v[i] = a;
        return;
    }
    y.v[at] = a;
    y.v[at + c] = second_half(p, q, s, t);
}

void main()
{
    if (WIDE != 0)
        for (uint i = grid_first(); i < n / 4; i += grid_step())
            wide(i);
    else
        for (uint i = grid_first(); i < n; i += grid_step())
            narrow(i);
}
