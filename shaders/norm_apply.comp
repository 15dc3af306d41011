// SPDX-License-Identifier: Apache-2.0
// The last step of a group norm and of its adjoint: x (samples, block) with `block` a multiple of C; element i belongs
// to group j = i / block groups + i mod C / width, with mean and rstd in stats[2 j] and the next;
// xhat = (x - mean) rstd.
//   KIND 0: y = act(gamma xhat + beta); y may be x.
//   KIND 1: y = rstd (g - mean(g) - xhat mean(g xhat)), g = dy act'(gamma xhat + beta) gamma; the means are in
//           sums[2 j] and the next; y may be x or dy.
// Constants: 0 workgroup, 1 wide: C is a multiple of four and x, dy, y, gamma, beta are aligned to four elements; 2: so
// is the width, 2 kind, 3 activation (enum at_act), 4 which of x, y (bits 0, 2) are of halves, with wide.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/fours.glsl"
#include "lib/grid.glsl"
#include "lib/act.glsl"

layout(constant_id = 1) const uint WIDE = 0;
layout(constant_id = 2) const uint KIND = 0;
layout(constant_id = 3) const uint ACT = 0;
layout(constant_id = 4) const uint HALVES = 0;

layout(push_constant, std430) uniform Push
{
    F32 x, dy, stats, sums, gamma, beta, y;
    uint n, block, c, groups, width;
};

vec4 load(F32 from, uint i, bool halves)
{
    if (WIDE != 0)
        return four_load(from, i, halves);
    return vec4(from.v[i], 0, 0, 0);
}

// Number `which` of the groups that element i and those behind it belong to.
vec4 of_groups(F32 from, uint i, uint which)
{
    uint k = i % c, first = i / block * groups;
    if (WIDE != 1)
        return vec4(from.v[2 * (first + k / width) + which]);
    vec4 v;
    for (uint a = 0; a < 4; a++)
        v[a] = from.v[2 * (first + (k + a) / width) + which];
    return v;
}

void main()
{
    uint u = WIDE != 0 ? 4 : 1;
    for (uint i = grid_first(); i < n / u; i += grid_step()) {
        uint e = i * u, k = e % c;
        vec4 rstd = of_groups(stats, e, 1), xhat = (load(x, i, (HALVES & 1u) != 0) - of_groups(stats, e, 0)) * rstd;
        vec4 w = load(gamma, k / u, false), v = w * xhat;
        if (KIND == 0 || ACT != 0)
            v += load(beta, k / u, false);
        if (KIND == 0) {
            for (uint a = 0; a < u; a++)
                v[a] = act_apply(ACT, v[a]);
        } else {
            vec4 g = load(dy, i, false) * w;
            for (uint a = 0; a < u; a++)
                g[a] *= act_slope(ACT, v[a]);
            v = rstd * (g - of_groups(sums, e, 0) - xhat * of_groups(sums, e, 1));
        }
        if (WIDE != 0)
            four_store(y, i, v, (HALVES & 4u) != 0);
        else
            y.v[i] = v.x;
    }
}
