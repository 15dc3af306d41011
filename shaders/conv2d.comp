// SPDX-License-Identifier: Apache-2.0
// Convolution as a matrix product without a patch matrix: rows are pixels of y, k is (tap, channel), columns are
// channels of y. a: an image (N,h,w,c). Row i stands for pixel (v,u) = (i / row_w % row_h, i % row_w) of image
// i / (row_w row_h); its tap (ty,tx) of (tap_h,tap_w) reads pixel (v step + from_y + dir ty, u step + from_x + dir tx)
// of a, zero outside, where dir is 1, or -1 with flag 32. That is conv2d, and, with taps and pixels of one residue
// modulo the stride at a time, its adjoint conv2d_dx.
// b: the weight of column j, channel ch and tap lies at tap_at + ty tap_y + tx tap_x + j ldb + ch if B_ROWS, else
// + ch ldb + j.
// y: row i at y_at + image y_n + v y_v + u y_u; the residual too. Flag 4 of form: at i n.
// Constants: lib/product.glsl.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"
#include "lib/product.glsl"

layout(push_constant, std430) uniform Push
{
    PRODUCT_HEAD
    uint h, w, c;
    uint taps; // tap_h | tap_w << 16
    uint row_h, row_w;
    int step, from_y, from_x;
    uint ldb, tap_at, tap_y, tap_x;
    uint y_at, y_n, y_v, y_u;
};

const int DIR = (FLAGS & 32u) != 0u ? -1 : 1;

// The pixel under tap (0,0), the index of its first channel, modulo 2^32 where it lies outside, and from it to the tap.
int a_y[A_SLOTS], a_x[A_SLOTS];
uint a_at[A_SLOTS], a_tap;
bool a_in[A_SLOTS];
uint b_line[B_SLOTS], b_at[B_SLOTS], b_tap;

uint k_segments()
{
    return (taps & 0xffffu) * (taps >> 16);
}

uint k_length()
{
    return c;
}

void a_row(uint s, uint i, uint z)
{
    i = i < m ? i : 0;
    uint line = i / row_w, image = line / row_h;
    a_y[s] = int(line - image * row_h) * step + from_y;
    a_x[s] = int(i - line * row_w) * step + from_x;
    a_at[s] = ((image * h + uint(a_y[s])) * w + uint(a_x[s])) * c;
}

void a_segment(uint s, uint g, uint i)
{
    uint tap_w = taps >> 16, ty = g / tap_w, tx = g - ty * tap_w;
    uint v = uint(a_y[s] + DIR * int(ty)), u = uint(a_x[s] + DIR * int(tx));
    bool in_y = v < h, in_x = u < w;
    a_in[s] = in_y && in_x;
    a_tap = uint(DIR) * (ty * w + tx) * c;
}

void b_row(uint s, uint i, uint z)
{
    b_line[s] = (i < n ? i : 0) * (B_ROWS ? ldb : 1);
}

void b_segment(uint s, uint g, uint i)
{
    uint tap_w = taps >> 16, ty = g / tap_w, tx = g - ty * tap_w;
    b_tap = tap_at + ty * tap_y + tx * tap_x;
    if (!B_ROWS)
        b_at[s] = b_line[s] + b_tap + i * ldb;
}

bool a_index(uint s, uint i, out uint at)
{
    bool in_k = K_INSIDE ? true : i < c, here = a_in[s];
    here = here && in_k;
    at = a_at[s] + (a_tap + i);
    at = here ? at : 0;
    return here;
}

bool b_index(uint s, uint i, out uint at)
{
    bool here = K_INSIDE ? true : i < c;
    if (B_ROWS) {
        at = b_line[s] + (b_tap + i);
    } else {
        at = b_at[s];
        b_at[s] += B_K_STEP * ldb;
    }
    at = here ? at : 0;
    return here;
}

uint y_row(uint i, uint z)
{
    if ((form & 4u) != 0)
        return i * n;
    uint line = i / row_w, image = line / row_h;
    return y_at + image * y_n + (line - image * row_h) * y_v + (i - line * row_w) * y_u;
}

#include "lib/gemm.glsl"

void main()
{
    product(1);
}
