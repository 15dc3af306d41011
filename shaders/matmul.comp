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
    a_at[s] = batch_at(z, a_outer, a_inner) + (i < m ? i : 0) * (A_ROWS ? lda : 1);
}

void b_row(uint s, uint i, uint z)
{
    b_at[s] = batch_at(z, b_outer, b_inner) + (i < n ? i : 0) * (B_ROWS ? ldb : 1);
}

void a_segment(uint s, uint g, uint i)
{
    if (!A_ROWS)
        a_at[s] += i * lda;
}

void b_segment(uint s, uint g, uint i)
{
    if (!B_ROWS)
        b_at[s] += i * ldb;
}

bool a_index(uint s, uint i, out uint at)
{
    bool here = K_INSIDE ? true : i < k;
    at = a_at[s] + (A_ROWS ? i : 0);
    at = here ? at : 0;
    if (!A_ROWS)
        a_at[s] += A_K_STEP * lda;
    return here;
}

bool b_index(uint s, uint i, out uint at)
{
    bool here = K_INSIDE ? true : i < k;
    at = b_at[s] + (B_ROWS ? i : 0);
    at = here ? at : 0;
    if (!B_ROWS)
        b_at[s] += B_K_STEP * ldb;
    return here;
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
