// SPDX-License-Identifier: Apache-2.0
// y = act(alpha op(a) op(b) + bias) + residual for a batch of matrices: batch z starts at element
// z / inner * outer + z % inner * (inner stride) of each tensor. op(a) (m,k) lies as (m,k) with lines of lda if A_ROWS,
// else as (k,m); op(b) (k,n) as (n,k) with lines of ldb if B_ROWS, else as (k,n); y (m,n) with lines of ldy.
// Constants: lib/product.glsl.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"
#include "lib/product.glsl"

layout(push_constant, std430) uniform Push
{
    PRODUCT_HEAD
    uint k, lda, ldb, ldy;
    uint batches, inner;
    uint a_outer, a_inner, b_outer, b_inner, y_outer, y_inner;
};

uint a_at[A_SLOTS], b_at[B_SLOTS];

uint k_segments()
{
    return 1;
}

uint k_length()
{
    return k;
}

uint batch_at(uint z, uint outer_stride, uint inner_stride)
{
    return z / inner * outer_stride + z % inner * inner_stride;
}

void a_row(uint s, uint i, uint z)
{
    i = i < m ? i : 0;
    a_at[s] = batch_at(z, a_outer, a_inner) + (A_ROWS ? i * lda : i);
}

void b_row(uint s, uint i, uint z)
{
    i = i < n ? i : 0;
    b_at[s] = batch_at(z, b_outer, b_inner) + (B_ROWS ? i * ldb : i);
}

void a_segment(uint s, uint g)
{
}

void b_segment(uint s, uint g)
{
}

uint a_index(uint s, uint i)
{
    return a_at[s] + (A_ROWS ? i : i * lda);
}

uint b_index(uint s, uint i)
{
    return b_at[s] + (B_ROWS ? i : i * ldb);
}

float a_load(uint s, uint i)
{
    bool in_k = LEAN || i < k;
    float x = a.v[in_k ? a_index(s, i) : 0];
    return in_k ? x : 0;
}

vec4 a_load4(uint s, uint i)
{
    bool in_k = i < k;
    vec4 x = F32x4(a).v[in_k ? a_index(s, i) / 4 : 0];
    return in_k ? x : vec4(0);
}

float b_load(uint s, uint i)
{
    bool in_k = LEAN || i < k;
    float x = b.v[in_k ? b_index(s, i) : 0];
    return in_k ? x : 0;
}

vec4 b_load4(uint s, uint i)
{
    bool in_k = i < k;
    vec4 x = F32x4(b).v[in_k ? b_index(s, i) / 4 : 0];
    return in_k ? x : vec4(0);
}

uint y_row(uint i, uint z)
{
    return batch_at(z, y_outer, y_inner) + i * ldy;
}

#include "lib/gemm.glsl"

void main()
{
    product(batches);
}
