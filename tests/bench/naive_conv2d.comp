// SPDX-License-Identifier: Apache-2.0
// 3x3 convolution of an image x (h,w,c), padded by one, with weights (o,3,3,c): y (h,w,o), one output an invocation.
// What tests/bench/naive.c compares shaders/conv2d.comp with.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"

layout(push_constant, std430) uniform Push
{
    F32 x, weight, y;
    uint h, w, c, o;
};

void main()
{
    for (uint i = grid_first(); i < h * w * o; i += grid_step()) {
        uint pixel = i / o, v = pixel / w, u = pixel % w;
        float sum = 0;
        for (uint tap = 0; tap < 9; tap++) {
            uint from_v = v + tap / 3 - 1, from_u = u + tap % 3 - 1;
            if (from_v < h && from_u < w) {
                uint from = (from_v * w + from_u) * c, with = (i % o * 9 + tap) * c;
                for (uint j = 0; j < c; j++)
                    sum = fma(x.v[from + j], weight.v[with + j], sum);
            }
        }
        y.v[i] = sum;
    }
}
