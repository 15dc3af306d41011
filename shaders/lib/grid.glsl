// SPDX-License-Identifier: Apache-2.0
// The grid of a dispatch as one line of workgroups, however the host folded it into x, y and z (at_vk_grid): a device
// may allow only 65535 groups in a direction. Every kernel strides over its work by the number of groups, so that any
// number of them is right.
//
//     for (uint i = grid_first(); i < n; i += grid_step())   one element an invocation
//     for (uint g = grid_group(); g < n; g += grid_groups()) one item a workgroup
//
// n + grid_step() must stay below 2^32.
#ifndef LIB_GRID_GLSL
#define LIB_GRID_GLSL

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;

uint grid_groups()
{
    return gl_NumWorkGroups.x * gl_NumWorkGroups.y * gl_NumWorkGroups.z;
}

uint grid_group()
{
    return gl_WorkGroupID.x + gl_NumWorkGroups.x * (gl_WorkGroupID.y + gl_NumWorkGroups.y * gl_WorkGroupID.z);
}

uint grid_first()
{
    return grid_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
}

uint grid_step()
{
    return grid_groups() * gl_WorkGroupSize.x;
}

#endif
