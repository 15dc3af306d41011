// SPDX-License-Identifier: Apache-2.0
// The second half of a matrix product; see lib/product.glsl. The kernel has defined
//     uint k_segments(), k_length()         k is that many segments of that length
//     void a_row(uint s, uint i, uint z)      slot s reads row i of A of batch z; if i is past the end, any row
//     void a_segment(uint s, uint g, uint k)  ... in segment g from now on; its first element will be k
//     bool a_index(uint s, uint k, out uint at)  called once for each k, A_K_STEP apart:
//         element k of the segment, or four (with lanes: two) from there on if A_WIDE, is that of `a` at index `at`; or
//         false if k is past the end or the element is 0, with `at` = 0
// likewise for B and its columns, and
//     uint y_row(uint i, uint z)            index in y of row i
// Tiles of A and B go through registers to shared memory while the tile before is being multiplied; what was loaded is
// therefore not looked at before that is done, not even to replace it by 0. A lean kernel reads the operands directly,
// one with lanes from lane to lane: a software device has nothing better, and compiles them quickly.
// In the loop, && and ?: have plain variables as operands: glslang makes branches of anything else.
#ifndef LIB_GEMM_GLSL
#define LIB_GEMM_GLSL

#include "lib/finish.glsl"

const uint A_LINE = BM + 4; // of the shared tile, one k
const uint B_LINE = BN + 4;
const uint A_STEP = A_WIDE ? 4u : 1u;
const uint B_STEP = B_WIDE ? 4u : 1u;
const uint B_AT = BK * A_LINE;
shared float tile[PARTS ? 1u : BK * (A_LINE + B_LINE)];

float a_next[A_SLOTS * A_STEP];
bool a_here[A_SLOTS], b_here[B_SLOTS]; // not 0
uint a_put[A_SLOTS], b_put[B_SLOTS];   // where they go in `tile`

#ifdef HALF
// Words, which are taken apart when they are looked at.
const uint B_WORDS = B_WIDE ? 2u : 1u;
uint b_next[B_SLOTS * B_WORDS];
bool b_upper[B_SLOTS];

void b_load(uint s, uint at)
{
    if (B_WIDE) {
        uvec2 x = U32x2(b).v[at / 4];
        b_next[s * B_WORDS] = x.x;
        b_next[s * B_WORDS + B_WORDS - 1] = x.y;
    } else {
        b_next[s * B_WORDS] = b.v[at / 2];
        b_upper[s] = (at & 1u) != 0;
    }
}

float b_value(uint s, uint j)
{
    return B_WIDE ? half_pair(b_next[s * B_WORDS + j / 2])[j & 1u] : half_one(b_next[s * B_WORDS], b_upper[s]);
}

float b_element(uint at)
{
    return half_one(b.v[at / 2], (at & 1u) != 0);
}
#else
float b_next[B_SLOTS * B_STEP];

void b_load(uint s, uint at)
{
    if (B_WIDE) {
        vec4 x = F32x4(b).v[at / 4];
        [[unroll]] for (uint j = 0; j < B_STEP; j++)
            b_next[s * B_STEP + j] = x[j];
    } else {
        b_next[s * B_STEP] = b.v[at];
    }
}

float b_value(uint s, uint j)
{
    return b_next[s * B_STEP + j];
}

float b_element(uint at)
{
    return b.v[at];
}
#endif

// Index in `tile` of element (i, k).
uint a_place(uint i, uint k)
{
    return k * A_LINE + i;
}

uint b_place(uint i, uint k)
{
    return B_AT + k * B_LINE + i;
}

// Where slot s lies in the tile: x along m (n), y along k.
uvec2 a_slot(uint s)
{
    if (LANES)
        return A_ROWS ? uvec2(part_row(s), 2 * gl_LocalInvocationID.x)
                      : uvec2(part_row(s & ~1u), 2 * gl_LocalInvocationID.x + (s & 1u));
    return LEAN ? uvec2(part_row(s), 0) : slot_place(s, BM, A_ROWS, A_WIDE);
}

uvec2 b_slot(uint s)
{
    if (LANES)
        return B_ROWS ? uvec2(part_column(s), 0) : uvec2(part_column(s & ~1u), s & 1u);
    return LEAN ? uvec2(part_column(s), 0) : slot_place(s, BN, B_ROWS, B_WIDE);
}

void start_rows(uint m0, uint n0, uint z)
{
    [[unroll]] for (uint s = 0; s < A_SLOTS; s++) {
        uvec2 at = a_slot(s);
        a_row(s, m0 + at.x, z);
        a_put[s] = a_place(at.x, at.y);
    }
    [[unroll]] for (uint s = 0; s < B_SLOTS; s++) {
        uvec2 at = b_slot(s);
        b_row(s, n0 + at.x, z);
        b_put[s] = b_place(at.x, at.y);
    }
}

void start_segment(uint g, uint k0)
{
    [[unroll]] for (uint s = 0; s < A_SLOTS; s++)
        a_segment(s, g, k0 + a_slot(s).y);
    [[unroll]] for (uint s = 0; s < B_SLOTS; s++)
        b_segment(s, g, k0 + b_slot(s).y);
}

#ifdef SHUFFLE
layout(buffer_reference, std430, buffer_reference_align = 8) buffer F32x2 { uint64_t v[]; };

vec2 pair(F32 from, uint at, bool here)
{
    vec2 x = uintBitsToFloat(unpack32(F32x2(from).v[at / 2]));
    return here ? x : vec2(0);
}

#ifdef HALF
vec2 b_pair(uint at, bool here)
{
    vec2 x = half_pair(b.v[at / 2]);
    return here ? x : vec2(0);
}
#else
vec2 b_pair(uint at, bool here)
{
    return pair(b, at, here);
}
#endif

// The tile's rows at elements k and k + 1, of which this lane has those of A from k0 + 2 lane on.
void multiply_lanes(uint k0)
{
    float x[2 * TM];
    uint at;
    [[unroll]] for (uint s = 0; s < TM; s++) {
        bool here = a_index(s, k0 + a_slot(s).y, at);
        vec2 two = pair(a, at, here);
        x[2 * (A_ROWS ? s : s & ~1u) + (A_ROWS ? 0 : s & 1u)] = two.x;
        x[2 * (A_ROWS ? s : s | 1u) + (A_ROWS ? 1 : s & 1u)] = two.y;
    }
    for (uint lane = 0; lane < BK / 2; lane++) { // not unrolled: it compiles four times as fast
        float w[2 * TN];
        [[unroll]] for (uint s = 0; s < TN; s++) {
            bool here = b_index(s, k0 + 2 * lane + b_slot(s).y, at);
            vec2 two = b_pair(at, here);
            w[2 * (B_ROWS ? s : s & ~1u) + (B_ROWS ? 0 : s & 1u)] = two.x;
            w[2 * (B_ROWS ? s : s | 1u) + (B_ROWS ? 1 : s & 1u)] = two.y;
        }
        [[unroll]] for (uint r = 0; r < TM; r++) {
            float first = subgroupShuffle(x[2 * r], lane), second = subgroupShuffle(x[2 * r + 1], lane);
            [[unroll]] for (uint c = 0; c < TN; c++)
                acc[r * TN + c] = fma(second, w[2 * c + 1], fma(first, w[2 * c], acc[r * TN + c]));
        }
    }
}

void lanes(uint first, uint last)
{
    uint blocks = (k_length() + BK - 1) / BK, g = first / blocks, k0 = (first - g * blocks) * BK;
    for (uint i = first; i < last; i++, k0 += BK) {
        if (k0 >= k_length()) {
            k0 = 0;
            g++;
        }
        if (i == first || k0 == 0)
            start_segment(g, k0);
        multiply_lanes(k0);
    }
}
#else
void lanes(uint first, uint last)
{
}
#endif

// Without `more` an element is loaded that is not used: loading on one of two paths would make the other wait as well.
void fetch(uint k0, bool more)
{
    uint at;
    [[unroll]] for (uint s = 0; s < A_SLOTS; s++) {
        a_here[s] = a_index(s, k0 + slot_place(s, BM, A_ROWS, A_WIDE).y, at);
        at = more ? at : 0;
        if (A_WIDE) {
            vec4 x = F32x4(a).v[at / 4];
            [[unroll]] for (uint j = 0; j < A_STEP; j++)
                a_next[s * A_STEP + j] = x[j];
        } else {
            a_next[s * A_STEP] = a.v[at];
        }
    }
    [[unroll]] for (uint s = 0; s < B_SLOTS; s++) {
        b_here[s] = b_index(s, k0 + slot_place(s, BN, B_ROWS, B_WIDE).y, at);
        at = more ? at : 0;
        b_load(s, at);
    }
}

void share()
{
    [[unroll]] for (uint s = 0; s < A_SLOTS; s++)
        [[unroll]] for (uint j = 0; j < A_STEP; j++)
            tile[a_put[s] + j * (A_ROWS ? A_LINE : 1u)] = a_here[s] ? a_next[s * A_STEP + j] : 0;
    [[unroll]] for (uint s = 0; s < B_SLOTS; s++)
        [[unroll]] for (uint j = 0; j < B_STEP; j++) {
            float x = b_value(s, j);
            tile[b_put[s] + j * (B_ROWS ? B_LINE : 1u)] = b_here[s] ? x : 0;
        }
}

void multiply_shared()
{
    [[unroll]] for (uint k = 0; k < BK; k++) {
        float x[TM], w[TN];
        [[unroll]] for (uint r = 0; r < TM; r++)
            x[r] = tile[a_place(part_row(r), k)];
        [[unroll]] for (uint c = 0; c < TN; c++)
            w[c] = tile[b_place(part_column(c), k)];
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
        start_segment(g, k0);
        fetch(k0, true);
    }
    for (uint i = first; i < last; i++) {
        share();
        barrier();
        k0 += BK;
        bool more = i + 1 < last;
        if (k_segments() > 1 && k0 >= k_length() && more) {
            k0 = 0;
            start_segment(++g, k0);
        }
        fetch(k0, more);
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
        start_segment(g, k);
        for (; k < end; k++) {
            float x[TM], w[TN];
            uint at;
            [[unroll]] for (uint r = 0; r < TM; r++) {
                bool here = a_index(r, k, at);
                x[r] = a.v[at];
                x[r] = here ? x[r] : 0;
            }
            [[unroll]] for (uint c = 0; c < TN; c++) {
                bool here = b_index(c, k, at);
                w[c] = b_element(at);
                w[c] = here ? w[c] : 0;
            }
            [[unroll]] for (uint r = 0; r < TM; r++)
                [[unroll]] for (uint c = 0; c < TN; c++)
                    acc[r * TN + c] = fma(x[r], w[c], acc[r * TN + c]);
        }
    }
}

// All of it. Neighbouring workgroups share rows of A; on a software device, which runs them one after the other with
// tiles that are narrow in m, columns of B.
void product(uint batches)
{
    uint columns = (n + BN - 1) / BN, rows = (m + BM - 1) / BM, tiles = columns * rows, splits = form >> 8;
    uint work = LEAN ? k_segments() * k_length() : k_segments() * ((k_length() + BK - 1) / BK);
    for (uint t = grid_group(); t < tiles * splits * batches; t += grid_groups()) {
        uint z = t / (tiles * splits), split = t / tiles % splits, at = t % tiles;
        uint m0 = (PARTS ? at % rows : at / columns) * BM, n0 = (PARTS ? at / rows : at % columns) * BN;
        uint first = work / splits * split + min(split, work % splits);
        uint last = first + work / splits + (split < work % splits ? 1u : 0u);
        [[unroll]] for (uint i = 0; i < TM * TN; i++)
            acc[i] = 0;
        start_rows(m0, n0, z);
        if (LANES)
            lanes(first, last);
        else if (LEAN)
            lean(first, last);
        else
            tiled(first, last);
        store(m0, n0, z, split);
    }
}

#endif
