// SPDX-License-Identifier: Apache-2.0
// What a host kernel sees. The kernel half of an op's file is compiled with AT_KERNEL defined, once for each AT_BUILD
// (f64: the oracle; f32_base, f32_avx2, f32_avx512: the CPU device); `real` is its number type.
//
// All threads of the team run the kernel together, each on its own share of the work; the executor puts a barrier
// behind it. A result must not depend on the number of threads: share outputs, not sums.
#ifndef CORE_CPU_KERNEL_H
#define CORE_CPU_KERNEL_H

#include "core/ops/op.h"

struct at_kernel {
    const struct at_node *node; // shapes and attributes
    const void *in[AT_ARITY];   // reals, or int32_t for AT_I32; NULL where absent
    void *out;
    void *scratch; // the op's `scratch` reals, shared by the team
    int thread, threads;
};

typedef void at_host_kernel(const struct at_kernel *k);

#ifdef AT_KERNEL
#include <math.h>
#include <string.h>
#if defined(__SSE__)
#include <immintrin.h>
#endif

typedef AT_REAL real;

#define AT_PASTE3(a, b, c) a##b##_##c
#define AT_PASTE(a, b, c) AT_PASTE3(a, b, c)
#define AT_HOST(name)                                                                                                  \
    void AT_PASTE(at_host_, name, AT_BUILD)(const struct at_kernel *k);                                                \
    void AT_PASTE(at_host_, name, AT_BUILD)(const struct at_kernel *k)

// A thread's contiguous share [begin, end) of n units.
struct at_share {
    int64_t begin, end;
};

static inline struct at_share at_share_of(const struct at_kernel *k, int64_t n)
{
    return (struct at_share){n * k->thread / k->threads, n * (k->thread + 1) / k->threads};
}

// As at_share_of, with cuts at multiples of `grain` units.
static inline struct at_share at_share_grain(const struct at_kernel *k, int64_t n, int64_t grain)
{
    struct at_share s = at_share_of(k, (n + grain - 1) / grain);
    s.begin *= grain;
    s.end = s.end * grain < n ? s.end * grain : n;
    return s;
}

// All threads of the team meet here.
static inline void at_team_wait(const struct at_kernel *k)
{
    if (k->threads > 1) {
#pragma omp barrier
    }
}

// Asks for n reals that are about to be read: long rows of arithmetic between loads hide the memory from the processor's
// own prefetching. Addresses past the end of a tensor do no harm.
static inline void at_prefetch(const real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 64 / AT_REAL_BYTES)
        __builtin_prefetch(x + i);
}

// Copies n reals that nobody reads soon past the caches, or zeros where `from` is NULL: no line is read to be written.
static inline void at_stream(real *to, const real *from, int64_t n)
{
    int64_t i = 0;
#if defined(__AVX512F__)
    if ((uintptr_t)to % 64 == 0)
        for (; i + 64 / AT_REAL_BYTES <= n; i += 64 / AT_REAL_BYTES)
            _mm512_stream_si512((void *)(to + i), from ? _mm512_loadu_si512(from + i) : _mm512_setzero_si512());
#elif defined(__SSE2__)
    if ((uintptr_t)to % 16 == 0)
        for (; i + 16 / AT_REAL_BYTES <= n; i += 16 / AT_REAL_BYTES)
            _mm_stream_si128((void *)(to + i), from ? _mm_loadu_si128((const void *)(from + i)) : _mm_setzero_si128());
#endif
    if (from)
        memcpy(to + i, from + i, (size_t)(n - i) * sizeof(real));
    else
        memset(to + i, 0, (size_t)(n - i) * sizeof(real));
}

// Behind the last at_stream of a thread, before others may read.
static inline void at_stream_end(void)
{
#if defined(__SSE__)
    _mm_sfence();
#endif
}

#include "core/cpu/gemm.h"

// x, rounded as it is: kernels are built with -fassociative-math, which may turn a sum of e (x - mean) into
// sum e x - mean sum e and lose the digits that the subtraction first had kept.
static inline real real_fence(real x)
{
#if defined(__has_builtin)
#if __has_builtin(__builtin_assoc_barrier)
    return __builtin_assoc_barrier(x);
#elif __has_builtin(__arithmetic_fence)
    return __arithmetic_fence(x);
#else
    return x;
#endif
#else
    return x;
#endif
}

// exp, vectorisable in float: Cody-Waite reduction and a degree-6 polynomial, relative error below 2e-7 from -87.3 to 88,
// where it is clamped.
static inline real real_exp(real x)
{
#if AT_DOUBLE
    return exp(x);
#else
    x = x < -87.3f ? -87.3f : x > 88.0f ? 88.0f : x;
    float n = __builtin_rintf(x * 1.44269504f);
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union {
        uint32_t u; // unsigned, as a NaN becomes any number here; the result is NaN through p
        float f;
    } two_n = {.u = ((uint32_t)(int32_t)n + 127u) << 23};
    return p * two_n.f;
#endif
}

static inline real real_sigmoid(real x)
{
    return 1 / (1 + real_exp(-x));
}

// tanh; in float by exp(-2 |x|), below 0.3 by its series: the relative error is below 3e-7.
static inline real real_tanh(real x)
{
#if AT_DOUBLE
    return tanh(x);
#else
    float s = x * x, t = real_exp(x < 0 ? 2 * x : -2 * x), far = (1 - t) / (1 + t);
    float near = x * (1 + s * (-0.333333333f + s * (0.133333333f + s * (-0.0539682540f + s * 0.0218694885f))));
    return s < 0.09f ? near : x < 0 ? -far : far;
#endif
}

// erf; in float x P(x^2) / Q(x^2), fitted to a largest error of 2e-8 on |x| < 3.95, beyond which erf rounds to 1: the
// absolute error is below 4e-7, and near 0 that is relative.
static inline real real_erf(real x)
{
#if AT_DOUBLE
    return erf(x);
#else
    float a = x < -3.95f ? -3.95f : x > 3.95f ? 3.95f : x, s = a * a;
    float p = 2.01173953e-6f, q = 3.78397344e-5f;
    p = p * s + 2.87601637e-4f;
    p = p * s + 3.91735043e-3f;
    p = p * s + 5.32071590e-2f;
    p = p * s + 1.94036424e-1f;
    p = p * s + 1.12837899f;
    q = q * s + 1.19820936e-3f;
    q = q * s + 1.52707658e-2f;
    q = q * s + 1.15591057e-1f;
    q = q * s + 5.05291760e-1f;
    q = q * s + 1.0f;
    float y = a * p / q;
    return y < -1 ? -1 : y > 1 ? 1 : y;
#endif
}

#endif // AT_KERNEL

#endif
