// SPDX-License-Identifier: Apache-2.0
// The second half of a matrix product; see lib/product.glsl. The kernel has defined
//     uint k_segments(), k_length()         k is that many segments of that length
//     void a_row(uint s, uint i, uint z)    slot s reads row i of A of batch z; i may be past the end: any valid row
//     void a_segment(uint s, uint g)        ... in segment g from now on
//     float a_load(uint s, uint k)          element k of the segment; k may be past the end: 0
//     vec4 a_load4(uint s, uint k)          four elements, if A_WIDE
// likewise for B and its columns, and
//     uint y_row(uint i, uint z)            index in y of row i
// Tiles of A and B go through registers to shared memory while the tile before is being multiplied. A slot is part of
// the registers, an unrolled loop's constant. A lean kernel reads the operands directly: a software device has nothing
// better, and compiles it quickly.
#ifndef LIB_GEMM_GLSL
#define LIB_GEMM_GLSL

#include "lib/act.glsl"

const uint A_LINE = BM + 4; // of the shared tile, one k
const uint B_LINE = BN + 4;
const uint A_STEP = A_WIDE ? 4u : 1u;
const uint B_STEP = B_WIDE ? 4u : 1u;
const uint B_AT = BK * A_LINE;
shared float tile[LEAN ? 1u : BK * (A_LINE + B_LINE)];

float acc[TM * TN];
float a_next[A_SLOTS * A_STEP], b_next[B_SLOTS * B_STEP];

// Row r of an invocation's part within the tile: groups of four, spread over the tile.
uint part_row(uint r)
{
    return (r / 4) * (4 * (BM / TM)) + 4 * (gl_LocalInvocationID.x / (BN / TN)) + r % 4;
}

uint part_column(uint c)
{
    return (c / 4) * (4 * (BN / TN)) + 4 * (gl_LocalInvocationID.x % (BN / TN)) + c % 4;
}

void start_rows(uint m0, uint n0, uint z)
{
    [[unroll]] for (uint s = 0; s < A_SLOTS; s++)
        a_row(s, m0 + (LEAN ? part_row(s) : slot_place(s, BM, A_ROWS, A_WIDE).x), z);
    [[unroll]] for (uint s = 0; s < B_SLOTS; s++)
        b_row(s, n0 + (LEAN ? part_column(s) : slot_place(s, BN, B_ROWS, B_WIDE).x), z);
}

void start_segment(uint g)
{
    [[unroll]] for (uint s = 0; s < A_SLOTS; s++)
        a_segment(s, g);
    [[unroll]] for (uint s = 0; s < B_SLOTS; s++)
        b_segment(s, g);
}

void fetch(uint k0)
{
    [[unroll]] for (uint s = 0; s < A_SLOTS; s++) {
        uint k = k0 + slot_place(s, BM, A_ROWS, A_WIDE).y;
        if (A_WIDE) {
            vec4 x = a_load4(s, k);
            [[unroll]] for (uint j = 0; j < A_STEP; j++)
                a_next[s * A_STEP + j] = x[j];
        } else {
            a_next[s * A_STEP] = a_load(s, k);
        }
    }
    [[unroll]] for (uint s = 0; s < B_SLOTS; s++) {
        uint k = k0 + slot_place(s, BN, B_ROWS, B_WIDE).y;
        if (B_WIDE) {
            vec4 x = b_load4(s, k);
            [[unroll]] for (uint j = 0; j < B_STEP; j++)
                b_next[s * B_STEP + j] = x[j];
        } else {
            b_next[s * B_STEP] = b_load(s, k);
        }
    }
}

void share()
{
    [[unroll]] for (uint s = 0; s < A_SLOTS; s++) {
        uvec2 at = slot_place(s, BM, A_ROWS, A_WIDE);
        [[unroll]] for (uint j = 0; j < A_STEP; j++)
            tile[A_ROWS ? (at.y + j) * A_LINE + at.x : at.y * A_LINE + at.x + j] = a_next[s * A_STEP + j];
    }
    [[unroll]] for (uint s = 0; s < B_SLOTS; s++) {
        uvec2 at = slot_place(s, BN, B_ROWS, B_WIDE);
        [[unroll]] for (uint j = 0; j < B_STEP; j++)
            tile[B_AT + (B_ROWS ? (at.y + j) * B_LINE + at.x : at.y * B_LINE + at.x + j)] = b_next[s * B_STEP + j];
    }
}

void multiply_shared()
{
    [[unroll]] for (uint k = 0; k < BK; k++) {
        float x[TM], w[TN];
        [[unroll]] for (uint r = 0; r < TM; r++)
            x[r] = tile[k * A_LINE + part_row(r)];
        [[unroll]] for (uint c = 0; c < TN; c++)
            w[c] = tile[B_AT + k * B_LINE + part_column(c)];
        [[unroll]] for (uint r = 0; r < TM; r++)
            [[unroll]] for (uint c = 0; c < TN; c++)
                acc[r * TN + c] = fma(x[r], w[c], acc[r * TN + c]);
    }
}

// Blocks [first, last) of k, BK deep, none across segments.
void tiled(uint first, uint last)
{
    uint blocks = (k_length() + BK - 1) / BK;
    uint g = first / blocks, k0 = (first - g * blocks) * BK;
    if (first < last) {
        start_segment(g);
        fetch(k0);
    }
    for (uint i = first; i < last; i++) {
        share();
        barrier();
        k0 += BK;
        if (k0 >= k_length() && i + 1 < last) {
            k0 = 0;
            start_segment(++g);
        }
        if (i + 1 < last)
            fetch(k0);
        multiply_shared();
        barrier();
    }
}

// The same for elements of k. first < last.
void lean(uint first, uint last)
{
    uint g = first / k_length(), k = first - g * k_length();
    for (uint i = first; i < last; g++, k = 0) {
        uint end = min(k + last - i, k_length());
        i += end - k;
        start_segment(g);
        for (; k < end; k++) {
            float x[TM], w[TN];
            [[unroll]] for (uint r = 0; r < TM; r++)
                x[r] = a_load(r, k);
            [[unroll]] for (uint c = 0; c < TN; c++)
                w[c] = b_load(c, k);
            [[unroll]] for (uint r = 0; r < TM; r++)
                [[unroll]] for (uint c = 0; c < TN; c++)
                    acc[r * TN + c] = fma(x[r], w[c], acc[r * TN + c]);
        }
    }
}

float finish(float x, uint i, uint j)
{
    x *= alpha;
    if ((form & 1u) != 0)
        x += bias.v[j];
    x = act_apply(ACT, x);
    return (form & 2u) != 0 ? x + residual.v[i + j] : x;
}

vec4 finish4(vec4 x, uint i, uint j)
{
    x *= alpha;
    if ((form & 1u) != 0)
        x += F32x4(bias).v[j / 4];
    x = vec4(act_apply(ACT, x.x), act_apply(ACT, x.y), act_apply(ACT, x.z), act_apply(ACT, x.w));
    return (form & 2u) != 0 ? x + F32x4(residual).v[(i + j) / 4] : x;
}

// Four columns from j on of the row at index i of y.
void put(vec4 x, uint i, uint j)
{
    if (Y_WIDE) {
        if (j < n)
            F32x4(y).v[(i + j) / 4] = form >= 0x200 ? x : finish4(x, i, j);
    } else {
        [[unroll]] for (uint c = 0; c < 4; c++)
            if (j + c < n)
                y.v[i + j + c] = form >= 0x200 ? x[c] : finish(x[c], i, j + c);
    }
}

void store(uint m0, uint n0, uint z, uint split)
{
    [[unroll]] for (uint r = 0; r < TM; r++) {
        uint i = m0 + part_row(r);
        if (i < m) {
            uint at = form >= 0x200 ? (split * m + i) * n : y_row(i, z);
            [[unroll]] for (uint c = 0; c < TN; c += 4)
                put(vec4(acc[r * TN + c], acc[r * TN + c + 1], acc[r * TN + c + 2], acc[r * TN + c + 3]), at,
                    n0 + part_column(c));
        }
    }
}

// All of it. Neighbouring workgroups share rows of A.
void product(uint batches)
{
    uint columns = (n + BN - 1) / BN, tiles = columns * ((m + BM - 1) / BM), splits = form >> 8;
    uint work = LEAN ? k_segments() * k_length() : k_segments() * ((k_length() + BK - 1) / BK);
    for (uint t = grid_group(); t < tiles * splits * batches; t += grid_groups()) {
        uint z = t / (tiles * splits), split = t / tiles % splits, at = t % tiles;
        uint m0 = at / columns * BM, n0 = at % columns * BN;
        uint first = work / splits * split + min(split, work % splits);
        uint last = first + work / splits + (split < work % splits ? 1u : 0u);
        [[unroll]] for (uint i = 0; i < TM * TN; i++)
            acc[i] = 0;
        start_rows(m0, n0, z);
        if (LEAN)
            lean(first, last);
        else
            tiled(first, last);
        store(m0, n0, z, split);
    }
}

#endif
