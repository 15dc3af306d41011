// SPDX-License-Identifier: Apache-2.0
// CBLAS products, from OpenBLAS: what the products of the host kernels (gemm.h) are measured against, and needed for
// nothing else. It is loaded at run time, because its choice of kernels is made while loading and Debian's 0.3.21 takes newer
// AVX-512 processors for Haswell, at half their speed.
#ifndef CORE_CPU_BLAS_H
#define CORE_CPU_BLAS_H

#include "core/base/log.h"

#include <stdint.h>

// Loads the library, once a process; false (with a warning, no failure) says which Debian package is missing. One
// thread a call: the caller splits the work.
AT_NODISCARD bool at_blas_load(struct at_log *log);
// The kernels in use, such as "SkylakeX"; after at_blas_load.
const char *at_blas_name(void);

// c (m,n) = alpha op(a) op(b) + beta c, row-major, op transposes where asked; lda, ldb, ldc are row strides.
void at_sgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
              const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
void at_dgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
              const double *b, int64_t ldb, double beta, double *c, int64_t ldc);

#endif
