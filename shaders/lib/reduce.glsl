// SPDX-License-Identifier: Apache-2.0
// Sums over a workgroup, whose size must be a power of two: a fixed tree in shared memory, so the result is the same in
// every run, and no subgroup operations. All invocations call them and get the sum. Needs lib/grid.glsl before it.
#ifndef LIB_REDUCE_GLSL
#define LIB_REDUCE_GLSL

shared vec2 reduce_lanes[gl_WorkGroupSize.x];

vec2 reduce_sum2(vec2 x)
{
    uint lane = gl_LocalInvocationID.x;
    barrier();
    reduce_lanes[lane] = x;
    barrier();
    for (uint n = gl_WorkGroupSize.x / 2; n > 0; n /= 2) {
        if (lane < n)
            reduce_lanes[lane] += reduce_lanes[lane + n];
        barrier();
    }
    return reduce_lanes[0];
}

float reduce_sum(float x)
{
    return reduce_sum2(vec2(x, 0.0)).x;
}

#endif
