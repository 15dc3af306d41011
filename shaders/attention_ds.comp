// SPDX-License-Identifier: Apache-2.0
// In place, for each row i of dp (rows, keys): ds = p (dp - sum_j dy_j y_j), the adjoint of the softmax that made p.
// Row i is query i % queries of head z = i / queries; the d elements of y and dy that belong to it start at
// z / heads * outer + z % heads * d + query * width.
// Constants: 0 workgroup (a power of two), 1 lanes that share a row, 2 whether y is of halves.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/fours.glsl"
#include "lib/grid.glsl"
#include "lib/lanes.glsl"

layout(constant_id = 2) const uint HALVES = 0;

layout(push_constant, std430) uniform Push
{
    F32 p, dp;
    F32 y, dy;
    uint rows, keys, queries, heads, d, width, outer;
};

void main()
{
    for (uint i = row_first(); i < rows; i += row_step()) {
        uint z = i / queries, at = z / heads * outer + z % heads * d + i % queries * width, line = i * keys;
        float dot = 0;
        for (uint j = lane_first(); j < d; j += LANES)
            dot += dy.v[at + j] * one_load(y, at + j, HALVES != 0);
        dot = lanes_sum(dot);
        for (uint j = lane_first(); j < keys; j += LANES)
            dp.v[line + j] = p.v[line + j] * (dp.v[line + j] - dot);
    }
}
