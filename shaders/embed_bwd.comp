// SPDX-License-Identifier: Apache-2.0
// table[id(i)] = the sum of the rows dy[i] (count, W) with that id, in their order; other rows of the table, which must
// be 0 already, stay. id(i) = ids[i], or 0 where that is not in 0 .. limit-1. A workgroup owns the id that occurs first
// at its i.
// Constants: 0 workgroup.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"

layout(push_constant, std430) uniform Push
{
    F32 dy;
    I32 ids;
    F32 table;
    uint count, width, limit;
};

uint id_of(uint i)
{
    uint id = uint(ids.v[i]);
    return id < limit ? id : 0;
}

void main()
{
    for (uint i = grid_group(); i < count; i += grid_groups()) {
        uint id = id_of(i), before = 0;
        while (before < i && id_of(before) != id)
            before++;
        if (before < i)
            continue;
        for (uint c = gl_LocalInvocationID.x; c < width; c += gl_WorkGroupSize.x) {
            float sum = 0;
            for (uint j = i; j < count; j++)
                if (id_of(j) == id)
                    sum += dy.v[j * width + c];
            table.v[id * width + c] = sum;
        }
    }
}
