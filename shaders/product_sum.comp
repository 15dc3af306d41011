// SPDX-License-Identifier: Apache-2.0
// The end of a product whose k was split: y = act(alpha (part 0 + part 1 + ...) + bias) + residual, parts, y and
// residual (count), bias (n). Always in the same order, so always with the same result.
// form: bit 0 bias, bit 1 residual, bits 8.. parts. Constants: 0 workgroup, 1 activation,
// 2 which of y, residual (bits 0, 1) are of halves: n is a multiple of four then, and all is aligned to four elements.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/fours.glsl"
#include "lib/grid.glsl"
#include "lib/act.glsl"

layout(constant_id = 1) const uint ACT = 0;
layout(constant_id = 2) const uint HALVES = 0;

layout(push_constant, std430) uniform Push
{
    F32 parts, y, bias, residual;
    uint count, n, form;
    float alpha;
};

void four(uint i)
{
    vec4 x = vec4(0);
    for (uint s = 0; s < form >> 8; s++)
        x += F32x4(parts).v[(s * count) / 4 + i];
    x *= alpha;
    if ((form & 1u) != 0)
        x += F32x4(bias).v[i % (n / 4)];
    x = vec4(act_apply(ACT, x.x), act_apply(ACT, x.y), act_apply(ACT, x.z), act_apply(ACT, x.w));
    if ((form & 2u) != 0)
        x += four_load(residual, i, (HALVES & 2u) != 0);
    four_store(y, i, x, (HALVES & 1u) != 0);
}

void main()
{
    for (uint i = grid_first(); HALVES != 0 && i < count / 4; i += grid_step())
        four(i);
    if (HALVES != 0)
        return;
    for (uint i = grid_first(); i < count; i += grid_step()) {
        float x = 0;
        for (uint s = 0; s < form >> 8; s++)
            x += parts.v[s * count + i];
        x *= alpha;
        if ((form & 1u) != 0)
            x += bias.v[i % n];
        x = act_apply(ACT, x);
        y.v[i] = (form & 2u) != 0 ? x + residual.v[i] : x;
    }
}
