// SPDX-License-Identifier: Apache-2.0
// Gradient of a convolution's weight: y (m, tap_h tap_w c) = sum over pixels p of dy[p,:]^T patch(p). a: dy (pixels,m),
// pixel p = (image out_h + v) out_w + u; b: x (N,h,w,c), of which tap (ty,tx) of p is pixel (v step - top + ty,
// u step - left + tx), zero outside. Column j of the product is (ty, tx, channel); k is p.
// Constants: lib/product.glsl; neither operand is contiguous along k.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"
#include "lib/product.glsl"

layout(push_constant, std430) uniform Push
{
    PRODUCT_HEAD
    uint h, w, c, tap_w;
    uint pixels, out_h, out_w;
    int step, top, left;
};

uint a_at[A_SLOTS], b_channel[B_SLOTS];
int b_y[B_SLOTS], b_x[B_SLOTS];

uint k_segments()
{
    return 1;
}

uint k_length()
{
    return pixels;
}

void a_row(uint s, uint i, uint z)
{
    a_at[s] = i < m ? i : 0;
}

void b_row(uint s, uint i, uint z)
{
    i = i < n ? i : 0;
    uint tap = i / c, ty = tap / tap_w;
    b_channel[s] = i - tap * c;
    b_y[s] = int(ty) - top;
    b_x[s] = int(tap - ty * tap_w) - left;
}

void a_segment(uint s, uint g)
{
}

void b_segment(uint s, uint g)
{
}

// Whether column s meets the image at pixel p, and there the element of x.
bool b_index(uint s, uint p, out uint at)
{
    uint line = p / out_w, image = line / out_h;
    int v = int(line - image * out_h) * step + b_y[s], u = int(p - line * out_w) * step + b_x[s];
    bool inside = p < pixels && uint(v) < h && uint(u) < w;
    at = inside ? ((image * h + uint(v)) * w + uint(u)) * c + b_channel[s] : 0;
    return inside;
}

float a_load(uint s, uint p)
{
    float x = a.v[p < pixels ? p * m + a_at[s] : 0];
    return p < pixels ? x : 0;
}

vec4 a_load4(uint s, uint p)
{
    vec4 x = F32x4(a).v[p < pixels ? (p * m + a_at[s]) / 4 : 0];
    return p < pixels ? x : vec4(0);
}

float b_load(uint s, uint p)
{
    uint at;
    bool inside = b_index(s, p, at);
    float x = b.v[at];
    return inside ? x : 0;
}

vec4 b_load4(uint s, uint p)
{
    uint at;
    bool inside = b_index(s, p, at);
    vec4 x = F32x4(b).v[at / 4];
    return inside ? x : vec4(0);
}

uint y_row(uint i, uint z)
{
    return i * n;
}

#include "lib/gemm.glsl"

void main()
{
    product(1);
}
