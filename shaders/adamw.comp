// SPDX-License-Identifier: Apache-2.0
// AdamW in place (core/ops/adamw.c); moments (2,n) = [m | v], scalars (8): lr, beta1, beta2, eps, decay, c1, c2, scale.
//   KIND 0: m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2 with g = x scale; x (n) is the gradient.
//   KIND 1: x = (1 - lr decay) x - lr / c1 m / (sqrt(v / c2) + eps); x (n) is the weights.
// Constants: 0 workgroup, 1 wide: n is a multiple of four and the addresses are aligned to four elements, 2 kind.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"

layout(constant_id = 1) const uint WIDE = 0;
layout(constant_id = 2) const uint KIND = 0;

layout(push_constant, std430) uniform Push
{
    F32 x, moments, scalars;
    uint n;
};

vec4 load(F32 from, uint i)
{
    if (WIDE != 0)
        return F32x4(from).v[i];
    return vec4(from.v[i], 0, 0, 0);
}

void store(F32 to, uint i, vec4 v)
{
    if (WIDE != 0)
        F32x4(to).v[i] = v;
    else
        to.v[i] = v.x;
}

void main()
{
    float lr = scalars.v[0], b1 = scalars.v[1], b2 = scalars.v[2], eps = scalars.v[3], decay = scalars.v[4];
    float step_size = lr / scalars.v[5], c2 = 1.0 / scalars.v[6], scale = scalars.v[7];
    uint count = WIDE != 0 ? n / 4 : n;
    for (uint i = grid_first(); i < count; i += grid_step()) {
        vec4 m = load(moments, i), v = load(moments, count + i), u = load(x, i);
        if (KIND == 0) {
            vec4 g = u * scale;
            store(moments, i, b1 * m + (1.0 - b1) * g);
            store(moments, count + i, b2 * v + (1.0 - b2) * (g * g));
        } else {
            store(x, i, (1.0 - lr * decay) * u - step_size * m / (sqrt(v * c2) + eps));
        }
    }
}
