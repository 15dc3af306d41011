// SPDX-License-Identifier: Apache-2.0
// The end of a matrix product: what an invocation has summed up goes to y, with alpha, bias, activation and residual.
// Part of lib/gemm.glsl.
#ifndef LIB_FINISH_GLSL
#define LIB_FINISH_GLSL

#include "lib/act.glsl"

float acc[TM * TN]; // the invocation's part of the tile

// Row r of an invocation's part within the tile: groups of four, spread over the tile.
uint part_row(uint r)
{
    return (r / 4) * (4 * (BM / TM)) + 4 * (gl_LocalInvocationID.x / (BN / TN)) + r % 4;
}

uint part_column(uint c)
{
    return (c / 4) * (4 * (BN / TN)) + 4 * (gl_LocalInvocationID.x % (BN / TN)) + c % 4;
}

float finish(float x, uint i, uint j)
{
    x *= alpha;
    if ((form & 1u) != 0)
        x += bias.v[j];
    x = act_apply(ACT, x);
    return (form & 2u) != 0 ? x + residual.v[i + j] : x;
}

vec4 finish4(vec4 x, uint i, uint j)
{
    x *= alpha;
    if ((form & 1u) != 0)
        x += F32x4(bias).v[j / 4];
    x = vec4(act_apply(ACT, x.x), act_apply(ACT, x.y), act_apply(ACT, x.z), act_apply(ACT, x.w));
    return (form & 2u) != 0 ? x + four_load(residual, (i + j) / 4, R_HALVES) : x;
}

// Four columns from j on of the row at index i of y.
void put(vec4 x, uint i, uint j)
{
    if (Y_WIDE) {
        if (j < n)
            four_store(y, (i + j) / 4, form >= 0x200 ? x : finish4(x, i, j), Y_HALVES);
    } else {
        [[unroll]] for (uint c = 0; c < 4; c++)
            if (j + c < n)
                y.v[i + j + c] = form >= 0x200 ? x[c] : finish(x[c], i, j + c);
    }
}

void store(uint m0, uint n0, uint z, uint split)
{
    [[unroll]] for (uint r = 0; r < TM; r++) {
        uint i = m0 + part_row(r);
        if (i < m) {
            uint at = form >= 0x200 ? (split * m + i) * n : y_row(i, z);
            [[unroll]] for (uint c = 0; c < TN; c += 4)
                put(vec4(acc[r * TN + c], acc[r * TN + c + 1], acc[r * TN + c + 2], acc[r * TN + c + 3]), at,
                    n0 + part_column(c));
        }
    }
}

#endif
