// SPDX-License-Identifier: Apache-2.0
// The first half of a matrix product y = act(alpha A B + bias) + residual, A (m,k), B (k,n): constants, the head of the
// push constants, and which part of a tile an invocation loads. A kernel includes this file, declares its push block
// with PRODUCT_HEAD in front, defines how operands are read, and then includes lib/gemm.glsl, which does the work.
//
// Constants: 0 workgroup = (BM / TM) (BN / TN), 1 and 2 the tile of y that a workgroup makes (BM, BN), 3 the part of it
// that an invocation makes (TM | TN << 8, multiples of 4), 4 BK: the depth of a tile in shared memory, or 0 for a lean
// kernel without shared memory, 5 flags, 6 activation.
//
// Kernels for B of halves: lib/half.glsl.
//
// DTYPE_F32_LANES, _WF16_LANES, _WBF16_LANES: the kernel for software devices whose subgroups shuffle. A workgroup is one subgroup, side by side
// along n; BK is twice its lanes. Memory is what such a device is slow at, so two elements are loaded at a time, which
// are contiguous in m, n or k (A_WIDE and B_WIDE are set), and those of A are loaded by one lane and used by all.
#ifndef LIB_PRODUCT_GLSL
#define LIB_PRODUCT_GLSL

#extension GL_EXT_control_flow_attributes : require
#include "lib/half.glsl"
#if defined(DTYPE_F32_LANES) || defined(DTYPE_WF16_LANES) || defined(DTYPE_WBF16_LANES)
#define SHUFFLE
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
const bool LANES = true;
#else
const bool LANES = false;
#endif

layout(constant_id = 1) const uint BM = 32;
layout(constant_id = 2) const uint BN = 32;
layout(constant_id = 3) const uint PART = 0x404;
layout(constant_id = 4) const uint BK = 8;
layout(constant_id = 5) const uint FLAGS = 0;
layout(constant_id = 6) const uint ACT = 0;

const uint TM = PART & 255u;
const uint TN = PART >> 8;
const uint THREADS = (BM / TM) * (BN / TN);
const bool LEAN = BK == 0u;
const bool A_WIDE = (FLAGS & 1u) != 0u; // A is read four at a time along its contiguous index
const bool B_WIDE = (FLAGS & 2u) != 0u;
const bool Y_WIDE = (FLAGS & 4u) != 0u; // y, bias and residual are accessed four at a time along n
const bool A_ROWS = (FLAGS & 8u) != 0u; // A is contiguous along k; otherwise along m
const bool B_ROWS = (FLAGS & 16u) != 0u; // B is contiguous along k; otherwise along n

const bool K_INSIDE = (FLAGS & 64u) != 0u; // tiles end where segments end; so they do in a lean kernel

// Loads of an invocation ("slots") for one tile of depth BK; in a lean kernel a slot is a row (column) of its part.
// With lanes it is two elements of a row at once, or, contiguous along m (n), of two rows: slots 2i and 2i + 1 are
// neighbours in k.
const bool PARTS = LEAN || LANES;
const uint A_SLOTS = PARTS ? TM : BM * BK / THREADS / (A_WIDE ? 4u : 1u);
const uint B_SLOTS = PARTS ? TN : BN * BK / THREADS / (B_WIDE ? 4u : 1u);

// From one element that a slot reads to the next.
const uint A_K_STEP = LEAN ? 1u : BK;
const uint B_K_STEP = LEAN ? 1u : LANES ? 2u : BK;

// form: bit 0 bias, bit 1 residual, bit 2 y is a plain (m,n) matrix, bits 8.. parts that k is split into; the parts lie
// one after the other in y, without epilogue, for product_sum.comp.
#define PRODUCT_HEAD F32 a; W b; F32 y, bias, residual; uint m, n, form; float alpha;

// Where slot s of this invocation lies in a tile: x along m or n (`extent` long), y along k.
uvec2 slot_place(uint s, uint extent, bool rows, bool wide)
{
    uint step = wide ? 4u : 1u, line = (rows ? BK : extent) / step;
    uint t = gl_LocalInvocationID.x, e = t + s * THREADS;
    uint along = step * (THREADS % line == 0u ? t % line : e % line);
    uint across = THREADS % line == 0u ? t / line + s * (THREADS / line) : e / line;
    return rows ? uvec2(across, along) : uvec2(along, across);
}

#endif
