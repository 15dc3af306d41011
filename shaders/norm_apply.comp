// SPDX-License-Identifier: Apache-2.0
// The last step of a group norm and of its adjoint: x (samples, block) with `block` a multiple of C; element i belongs
// to group j = i / block groups + i mod C / width, with mean and rstd in stats[2 j] and the next;
// xhat = (x - mean) rstd.
//   KIND 0: y = act(gamma xhat + beta); y may be x.
//   KIND 1: y = rstd (g - mean(g) - xhat mean(g xhat)), g = dy act'(gamma xhat + beta) gamma; the means are in
//           sums[2 j] and the next; y may be x or dy.
// Constants: 0 workgroup, 1 wide: width is a multiple of four and x, dy, y, gamma, beta are aligned to four elements,
// 2 kind, 3 activation (enum at_act).
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"
#include "lib/act.glsl"

layout(constant_id = 1) const uint WIDE = 0;
layout(constant_id = 2) const uint KIND = 0;
layout(constant_id = 3) const uint ACT = 0;

layout(push_constant, std430) uniform Push
{
    F32 x, dy, stats, sums, gamma, beta, y;
    uint n, block, c, groups, width;
};

vec4 load(F32 from, uint i)
{
    if (WIDE != 0)
        return F32x4(from).v[i];
    return vec4(from.v[i], 0, 0, 0);
}

void main()
{
    uint u = WIDE != 0 ? 4 : 1;
    for (uint i = grid_first(); i < n / u; i += grid_step()) {
        uint k = i * u % c, j = i * u / block * groups + k / width;
        float mean = stats.v[2 * j], rstd = stats.v[2 * j + 1];
        vec4 xhat = (load(x, i) - mean) * rstd, w = load(gamma, k / u), v = w * xhat;
        if (KIND == 0 || ACT != 0)
            v += load(beta, k / u);
        if (KIND == 0) {
            for (uint a = 0; a < u; a++)
                v[a] = act_apply(ACT, v[a]);
        } else {
            vec4 g = load(dy, i) * w;
            for (uint a = 0; a < u; a++)
                g[a] *= act_slope(ACT, v[a]);
            v = rstd * (g - sums.v[2 * j] - xhat * sums.v[2 * j + 1]);
        }
        if (WIDE != 0)
            F32x4(y).v[i] = v;
        else
            y.v[i] = v.x;
    }
}
