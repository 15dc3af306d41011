// SPDX-License-Identifier: Apache-2.0
// Matrix products of the host kernels, on one thread, after Goto & van de Geijn 2008: packed panels of b meet a few rows
// of a at a time. Rows are given by address, so that a convolution needs no gathered copy of its image (Dukhan 2019).
// An element of the result is always the same sum in the same order, however the caller cuts rows and columns.
// b may be of halves, which are widened while they are packed.
#ifndef CORE_CPU_GEMM_H
#define CORE_CPU_GEMM_H

#include <stdbool.h>
#include <stdint.h>

#define AT_GEMM_NAME(name) AT_PASTE(at_gemm_, name, AT_BUILD)

// c[i][j] = alpha sum over taps t and depth q of a[t m + i][q] b[t][q b_row + j b_col] (+ c[i][j] if `add`).
struct AT_GEMM_NAME(taps) {
    int64_t m, n, taps, depth;
    const real *const *a; // (taps, m) addresses of `depth` reals
    const void *const *b; // (taps)
    int64_t b_row, b_col; // one of them is 1
    real *const *c;       // (m) addresses of n reals
    real alpha;
    bool add;
    enum at_dtype type; // of b; 0: reals
};
void AT_GEMM_NAME(by_taps)(const struct AT_GEMM_NAME(taps) *g);

// c[i ldc + t n + j] = sum over p < k of a[p lda + i] b[t k + p][j] (+ c), for i < m and columns t n + j in [from, to).
struct AT_GEMM_NAME(outer) {
    int64_t m, n, k;
    const real *a;
    int64_t lda;
    const real *const *b; // (taps, k) addresses of n reals; NULL: b[p] is dense + p ldb, and there is one tap
    const void *dense;
    int64_t ldb, from, to;
    real *c;
    int64_t ldc;
    real alpha;
    bool add;
    enum at_dtype type; // of dense; 0: reals
};
void AT_GEMM_NAME(by_outer)(const struct AT_GEMM_NAME(outer) *g);

// c (m,n) = alpha op(a) op(b) (+ c if `add`), row-major; op transposes where asked; lda, ldb, ldc are row strides.
void AT_GEMM_NAME(dense)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, real alpha, const real *a, int64_t lda,
                         const real *b, int64_t ldb, bool add, real *c, int64_t ldc);
// The same with b of any type.
void AT_GEMM_NAME(mixed)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, real alpha, const real *a, int64_t lda,
                         const void *b, enum at_dtype type, int64_t ldb, bool add, real *c, int64_t ldc);

// c (m,n) = a b (+ c), for b (k,n) that lies in a cache and is not packed: its rows are read to multiples of 16 reals.
void AT_GEMM_NAME(near)(int64_t m, int64_t n, int64_t k, const real *a, int64_t lda, const real *b, int64_t ldb,
                        bool add, real *c, int64_t ldc);

// to (cols, rows) = scale times the transpose of from (rows, cols); ldf, ldt are row strides.
void AT_GEMM_NAME(turn)(int64_t rows, int64_t cols, real scale, const real *from, int64_t ldf, real *to, int64_t ldt);

#define gemm_taps AT_GEMM_NAME(taps)
#define gemm_by_taps AT_GEMM_NAME(by_taps)
#define gemm_outer AT_GEMM_NAME(outer)
#define gemm_by_outer AT_GEMM_NAME(by_outer)
#define real_gemm AT_GEMM_NAME(dense)
#define mixed_gemm AT_GEMM_NAME(mixed)
#define near_gemm AT_GEMM_NAME(near)
#define real_turn AT_GEMM_NAME(turn)

#endif
