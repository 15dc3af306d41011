// SPDX-License-Identifier: Apache-2.0
// dst[i] = src[i] for i < n, in the storage type T.
// Constants: 0 workgroup, 1 wide: both addresses are aligned to four elements.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"

layout(constant_id = 1) const uint WIDE = 0;

layout(push_constant, std430) uniform Push
{
    T src, dst; // (n)
    uint n;
};

void main()
{
    uint fours = WIDE != 0 ? n / 4 : 0;
    for (uint i = grid_first(); i < fours; i += grid_step())
        t_store4(T4(dst), i, t_load4(T4(src), i));
    for (uint i = 4 * fours + grid_first(); i < n; i += grid_step())
        t_store(dst, i, t_load(src, i));
}
