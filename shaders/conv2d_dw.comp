// SPDX-License-Identifier: Apache-2.0
// Gradient of a convolution's weight: y (m, tap_h tap_w c) = sum over pixels p of dy[p,:]^T patch(p). a: dy (pixels,m),
// pixel p = (image out_h + v) out_w + u; b: x (N,h,w,c), of which tap (ty,tx) of p is pixel (v step - top + ty,
// u step - left + tx), zero outside (a coordinate below 0 is a large uint). Column j of the product is
// (ty, tx, channel); k is p.
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
    uint step, top, left;
};

uint a_at[A_SLOTS], b_channel[B_SLOTS];
uint b_y[B_SLOTS], b_x[B_SLOTS];
// The pixel that slot s is at, and from one tile (lean: one pixel) to the next.
uint b_n[B_SLOTS], b_v[B_SLOTS], b_u[B_SLOTS];
uint next_n, next_v, next_u;

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
    b_y[s] = ty - top;
    b_x[s] = tap - ty * tap_w - left;
}

void a_segment(uint s, uint g, uint p)
{
    a_at[s] += p * m;
}

void b_segment(uint s, uint g, uint p)
{
    uint line = p / out_w;
    b_n[s] = line / out_h;
    b_v[s] = line - b_n[s] * out_h;
    b_u[s] = p - line * out_w;
}

bool a_index(uint s, uint p, out uint at)
{
    bool here = K_INSIDE ? true : p < pixels;
    at = a_at[s];
    at = here ? at : 0;
    a_at[s] += A_K_STEP * m;
    return here;
}

bool b_index(uint s, uint p, out uint at)
{
    uint v = b_v[s] * step + b_y[s], u = b_u[s] * step + b_x[s];
    bool in_y = v < h, in_x = u < w, here = in_y && in_x, in_k = K_INSIDE ? true : p < pixels;
    here = here && in_k;
    at = ((b_n[s] * h + v) * w + u) * c + b_channel[s];
    at = here ? at : 0;
    b_u[s] += next_u;
    bool over = b_u[s] >= out_w;
    uint less = over ? out_w : 0, carry = over ? 1 : 0;
    b_u[s] -= less;
    b_v[s] += next_v + carry;
    over = b_v[s] >= out_h;
    less = over ? out_h : 0;
    carry = over ? 1 : 0;
    b_v[s] -= less;
    b_n[s] += next_n + carry;
    return here;
}

uint y_row(uint i, uint z)
{
    return i * n;
}

#include "lib/gemm.glsl"

void main()
{
    uint next = B_K_STEP, line = next / out_w;
    next_n = line / out_h;
    next_v = line - next_n * out_h;
    next_u = next - line * out_w;
    product(1);
}
