// SPDX-License-Identifier: Apache-2.0
// The end of a product whose k was split: y = act(alpha (part 0 + part 1 + ...) + bias) + residual, parts, y and
// residual (count), bias (n). Always in the same order, so always with the same result.
// form: bit 0 bias, bit 1 residual, bits 8.. parts. Constants: 0 workgroup, 1 activation.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"
#include "lib/act.glsl"

layout(constant_id = 1) const uint ACT = 0;

layout(push_constant, std430) uniform Push
{
    F32 parts, y, bias, residual;
    uint count, n, form;
    float alpha;
};

void main()
{
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
