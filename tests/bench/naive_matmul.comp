// SPDX-License-Identifier: Apache-2.0
// y (m,n) = a (m,k) b^T, b (n,k): one output an invocation, every operand read from memory. What tests/bench/naive.c
// compares lib/gemm.glsl with.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"

layout(push_constant, std430) uniform Push
{
    F32 a, b, y;
    uint m, n, k;
};

void main()
{
    for (uint i = grid_first(); i < m * n; i += grid_step()) {
        uint row = i / n * k, column = i % n * k;
        float sum = 0;
        for (uint j = 0; j < k; j++)
            sum = fma(a.v[row + j], b.v[column + j], sum);
        y.v[i] = sum;
    }
}
