// SPDX-License-Identifier: Apache-2.0
// Layer norm over the rows of x (rows, C), xhat = (x - mean) / sqrt(variance + eps), one workgroup a row.
//   KIND 0: y = gamma xhat + beta; y may be x.
//   KIND 1: y = (g - mean(g) - xhat mean(g xhat)) / sqrt(variance + eps), g = dy gamma; y may be x or dy.
// Constants: 0 workgroup, a power of two, 1 wide: C is a multiple of four and the addresses are aligned to four
// elements, 2 kind, 3 which of x, y (bits 0, 2) are of halves, with wide.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/fours.glsl"
#include "lib/grid.glsl"
#include "lib/reduce.glsl"

layout(constant_id = 1) const uint WIDE = 0;
layout(constant_id = 2) const uint KIND = 0;
layout(constant_id = 3) const uint HALVES = 0;

const bool X_HALVES = (HALVES & 1u) != 0;

layout(push_constant, std430) uniform Push
{
    F32 x, dy, gamma, beta, y;
    uint rows, c;
    float eps;
};

vec4 lanes()
{
    float rest = WIDE != 0 ? 1.0 : 0.0;
    return vec4(1, rest, rest, rest);
}

vec4 load(F32 from, uint i)
{
    if (WIDE != 0)
        return F32x4(from).v[i];
    return vec4(from.v[i], 0, 0, 0);
}

vec4 load_x(uint i)
{
    return WIDE != 0 ? four_load(x, i, X_HALVES) : vec4(x.v[i], 0, 0, 0);
}

void main()
{
    uint w = WIDE != 0 ? c / 4 : c, id = gl_LocalInvocationID.x, step_size = gl_WorkGroupSize.x;
    for (uint row = grid_group(); row < rows; row += grid_groups()) {
        uint at = row * w;
        float shift = one_load(x, row * c, X_HALVES), sum = 0, square = 0;
        for (uint i = id; i < w; i += step_size)
            sum += dot(load_x(at + i) - shift, lanes());
        float mean = shift + reduce_sum(sum) / float(c);
        for (uint i = id; i < w; i += step_size) {
            vec4 d = (load_x(at + i) - mean) * lanes();
            square += dot(d, d);
        }
        float rstd = inversesqrt(reduce_sum(square) / float(c) + eps);
        vec2 g = vec2(0);
        if (KIND == 1) {
            for (uint i = id; i < w; i += step_size) {
                vec4 e = load(dy, at + i) * load(gamma, i) * lanes();
                g += vec2(dot(e, lanes()), dot(e, (load_x(at + i) - mean) * rstd));
            }
            g = reduce_sum2(g) / float(c);
        }
        for (uint i = id; i < w; i += step_size) {
            vec4 xhat = (load_x(at + i) - mean) * rstd, v = load(gamma, i);
            if (KIND == 0)
                v = v * xhat + load(beta, i);
            else
                v = rstd * (load(dy, at + i) * v - g.x - xhat * g.y);
            if (WIDE != 0)
                four_store(y, at + i, v, (HALVES & 4u) != 0);
            else
                y.v[at + i] = v.x;
        }
    }
}
