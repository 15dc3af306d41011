// SPDX-License-Identifier: Apache-2.0
// Rows by number: y (rows, W) from x, id(r) = ids[r], or 0 where that is not in 0 .. limit-1.
//   KIND 0: y[r] = x[r stride + id(r)]                         embed (stride 0), pick (stride limit)
//   KIND 1: y[r] = x[r / limit] where id(r / limit) = r mod limit, else 0     pick_bwd
// x of halves (KIND 0): lib/half.glsl.
// Constants: 0 workgroup, 1 wide: W is a multiple of four and x and y are aligned to four elements, 2 kind.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"
#include "lib/half.glsl"

layout(constant_id = 1) const uint WIDE = 0;
layout(constant_id = 2) const uint KIND = 0;

layout(push_constant, std430) uniform Push
{
    W x;
    I32 ids;
    F32 y;
    uint rows, width, limit, stride;
};

uint id_of(uint r)
{
    uint id = uint(ids.v[r]);
    return id < limit ? id : 0;
}

#ifdef HALF
vec4 read4(uint at)
{
    uvec2 u = U32x2(x).v[at];
    return vec4(half_pair(u.x), half_pair(u.y));
}

float read1(uint at)
{
    return half_one(x.v[at / 2], (at & 1u) != 0);
}
#else
vec4 read4(uint at)
{
    return F32x4(x).v[at];
}

float read1(uint at)
{
    return x.v[at];
}
#endif

void main()
{
    uint w = WIDE != 0 ? width / 4 : width, n = rows * w;
    for (uint i = grid_first(); i < n; i += grid_step()) {
        uint r = i / w, from = KIND == 0 ? r * stride + id_of(r) : r / limit;
        bool zero = KIND == 1 && id_of(from) != r % limit;
        uint at = from * w + i % w;
        if (WIDE != 0) {
            vec4 v = vec4(0);
            if (!zero)
                v = read4(at);
            F32x4(y).v[i] = v;
        } else {
            float v = 0;
            if (!zero)
                v = read1(at);
            y.v[i] = v;
        }
    }
}
