// SPDX-License-Identifier: Apache-2.0
// Nearest neighbour between a small image (N,H,W,C) and a large one (N,h,w,C); large pixel (i, j) reads small pixel
// (floor(i H / h), floor(j W / w)).
//   KIND 0: y large from x small.
//   KIND 1, its adjoint: y small from x large, each pixel the sum of those that read it.
// Constants: 0 workgroup, 1 wide: C is a multiple of four and the addresses are aligned to four elements, 2 kind,
// 4 which of x, y (bits 0, 2) are of halves, with wide.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/fours.glsl"
#include "lib/grid.glsl"

layout(constant_id = 1) const uint WIDE = 0;
layout(constant_id = 2) const uint KIND = 0;
layout(constant_id = 4) const uint HALVES = 0;

layout(push_constant, std430) uniform Push
{
    F32 x, y;
    uint n, small_h, small_w, h, w, c; // n images
};

// The first i with floor(i from / to) >= at.
uint first_reader(uint at, uint from, uint to)
{
    return (at * to + from - 1) / from;
}

vec4 load(uint i)
{
    if (WIDE != 0)
        return four_load(x, i, (HALVES & 1u) != 0);
    return vec4(x.v[i], 0, 0, 0);
}

void store(uint i, vec4 v)
{
    if (WIDE != 0)
        four_store(y, i, v, (HALVES & 4u) != 0);
    else
        y.v[i] = v.x;
}

void main()
{
    uint width = WIDE != 0 ? c / 4 : c, yh = KIND == 0 ? h : small_h, yw = KIND == 0 ? w : small_w;
    uint count = n * yh * yw * width;
    for (uint e = grid_first(); e < count; e += grid_step()) {
        uint k = e % width, p = e / width, j = p % yw, i = p / yw % yh, image = p / yw / yh;
        if (KIND == 0) {
            store(e, load(((image * small_h + i * small_h / h) * small_w + j * small_w / w) * width + k));
            continue;
        }
        vec4 sum = vec4(0);
        uint i1 = first_reader(i + 1, small_h, h), j1 = first_reader(j + 1, small_w, w);
        for (uint a = first_reader(i, small_h, h); a < i1; a++)
            for (uint b = first_reader(j, small_w, w); b < j1; b++)
                sum += load(((image * h + a) * w + b) * width + k);
        store(e, sum);
    }
}
