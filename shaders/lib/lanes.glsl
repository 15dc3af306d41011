// SPDX-License-Identifier: Apache-2.0
// Rows that are handled by LANES invocations each: a whole workgroup, which shares sums through memory in a fixed tree,
// or (LANES 1, for software devices) one. Constant 1; the workgroup is a power of two. Needs lib/grid.glsl before it.
#ifndef LIB_LANES_GLSL
#define LIB_LANES_GLSL

layout(constant_id = 1) const uint LANES = 1;

shared float lanes_tree[LANES];

uint row_first()
{
    return LANES > 1 ? grid_group() : grid_first();
}

uint row_step()
{
    return LANES > 1 ? grid_groups() : grid_step();
}

uint lane_first()
{
    return LANES > 1 ? gl_LocalInvocationID.x : 0;
}

float lanes_reduce(float x, bool largest)
{
    if (LANES == 1)
        return x;
    uint lane = gl_LocalInvocationID.x;
    barrier();
    lanes_tree[lane] = x;
    barrier();
    for (uint n = LANES / 2; n > 0; n /= 2) {
        if (lane < n) {
            float other = lanes_tree[lane + n];
            lanes_tree[lane] = largest ? max(lanes_tree[lane], other) : lanes_tree[lane] + other;
        }
        barrier();
    }
    return lanes_tree[0];
}

float lanes_sum(float x)
{
    return lanes_reduce(x, false);
}

float lanes_max(float x)
{
    return lanes_reduce(x, true);
}

#endif
