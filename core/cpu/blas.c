// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 }; // the CBLAS standard's values

typedef void sgemm_fn(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
typedef void dgemm_fn(int, int, int, int, int, int, double, const double *, int, const double *, int, double, double *,
                      int);

static struct {
    sgemm_fn *sgemm;
    dgemm_fn *dgemm;
    const char *name;
} blas;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw"))
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
#endif
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return;
    // POSIX guarantees that dlsym's pointer converts to a function; ISO C needs the copy.
    void *s = dlsym(lib, "cblas_sgemm"), *d = dlsym(lib, "cblas_dgemm");
    void *threads = dlsym(lib, "openblas_set_num_threads"), *name = dlsym(lib, "openblas_get_corename");
    if (!s || !d)
        return;
    memcpy(&blas.sgemm, &s, sizeof(s));
    memcpy(&blas.dgemm, &d, sizeof(d));
    if (threads) {
        void (*set)(int);
        memcpy(&set, &threads, sizeof(set));
        set(1);
    }
    if (name) {
        char *(*get)(void);
        memcpy(&get, &name, sizeof(get));
        blas.name = get();
    }
}

bool at_blas_load(struct at_log *log)
{
    pthread_once(&once, load);
    if (blas.sgemm && blas.dgemm)
        return true;
    at_warn(log, "libopenblas.so.0 does not load, so products are not compared with it: install the package "
                 "libopenblas0-pthread");
    return false;
}

const char *at_blas_name(void)
{
    return blas.name ? blas.name : "unknown";
}

void at_sgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
              const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    blas.sgemm(ROW_MAJOR, ta ? TRANS : NO_TRANS, tb ? TRANS : NO_TRANS, (int)m, (int)n, (int)k, alpha, a, (int)lda, b,
               (int)ldb, beta, c, (int)ldc);
}

void at_dgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
              const double *b, int64_t ldb, double beta, double *c, int64_t ldc)
{
    blas.dgemm(ROW_MAJOR, ta ? TRANS : NO_TRANS, tb ? TRANS : NO_TRANS, (int)m, (int)n, (int)k, alpha, a, (int)lda, b,
               (int)ldb, beta, c, (int)ldc);
}
