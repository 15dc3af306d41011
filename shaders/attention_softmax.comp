// SPDX-License-Identifier: Apache-2.0
// In place, for each row i of s (rows, keys): softmax over the keys that it sees, 0 for the others. Row i is query
// first + i % queries; with `causal` it sees keys 0 .. query.
// Constants: 0 workgroup (a power of two), 1 lanes that share a row: the workgroup, or 1, each lane with its own row.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"
#include "lib/lanes.glsl"

layout(push_constant, std430) uniform Push
{
    F32 s;
    uint rows, keys, queries, first, causal;
};

void row_softmax(uint i)
{
    uint at = i * keys, seen = causal != 0 ? min(first + i % queries + 1, keys) : keys;
    float top = s.v[at];
    for (uint j = lane_first(); j < seen; j += LANES)
        top = max(top, s.v[at + j]);
    top = lanes_max(top);
    float sum = 0;
    for (uint j = lane_first(); j < seen; j += LANES) {
        float e = exp(s.v[at + j] - top);
        s.v[at + j] = e;
        sum += e;
    }
    float inverse = 1 / lanes_sum(sum);
    for (uint j = lane_first(); j < keys; j += LANES)
        s.v[at + j] = j < seen ? s.v[at + j] * inverse : 0;
}

void main()
{
    for (uint i = row_first(); i < rows; i += row_step())
        row_softmax(i);
}
