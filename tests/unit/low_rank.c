// SPDX-License-Identifier: Apache-2.0
// Matrices of known singular values: the nearest product is the sum of the largest, and no other.
#include "pipelines/lora/low_rank.h"

#include "core/base/alloc.h"
#include "tests/unit/capture.h"

#define MOST 200

// Element i of the vector c of an orthonormal basis of n (cosines, DCT II).
static double basis(int64_t n, int64_t c, int64_t i)
{
    double w = cos(3.14159265358979323846 * (double)c * ((double)i + 0.5) / (double)n);
    return w * sqrt((c ? 2.0 : 1.0) / (double)n);
}

// The sum of `count` products of basis vectors, values value[c].
static void make(float *a, int64_t m, int64_t n, const double *value, int count)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int c = 0; c < count; c++)
                sum += value[c] * basis(m, (c * 7 + 1) % m, i) * basis(n, c, j);
            a[i * n + j] = (float)sum;
        }
}

static double distance(const float *a, int64_t m, int64_t n, int rank, const float *up, const float *down)
{
    double sum = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double x = (double)a[i * n + j];
            for (int r = 0; r < rank; r++)
                x -= (double)up[i * rank + r] * (double)down[r * n + j];
            sum += x * x;
        }
    return sqrt(sum);
}

static void check(int64_t m, int64_t n, int rank, const double *value, int count)
{
    static float a[MOST * MOST], up[MOST * MOST], down[MOST * MOST];
    double kept = 0, most = 0, tail = 0, all = 0;
    for (int c = 0; c < count; c++) {
        all += value[c] * value[c];
        most += c < rank ? value[c] * value[c] : 0;
        tail += c < rank ? 0 : value[c] * value[c];
    }
    make(a, m, n, value, count);
    if (!AT_CHECK(at_low_rank(a, m, n, rank, 5, up, down, &kept)))
        return;
    double lost = distance(a, m, n, rank, up, down), size = sqrt(all);
    printf("(%d,%d) rank %d: lost %.3g, the least is %.3g\n", (int)m, (int)n, rank, lost / size, sqrt(tail) / size);
    AT_CHECK_NEAR(kept / all, most / all, 1e-5);
    AT_CHECK_NEAR(lost / size, sqrt(tail) / size, 1e-3 * sqrt(tail) / size + 2e-6);
    for (int r = 0; r < rank; r++) { // both halves are of one size
        double u = 0, d = 0;
        for (int64_t i = 0; i < m; i++)
            u += (double)up[i * rank + r] * (double)up[i * rank + r];
        for (int64_t j = 0; j < n; j++)
            d += (double)down[r * n + j] * (double)down[r * n + j];
        AT_CHECK_NEAR(u / (d > 0 ? d : 1), u > 0, 1e-3);
    }
}

static void finds_the_largest_values(void)
{
    double steep[60], flat[60];
    for (int c = 0; c < 60; c++) {
        steep[c] = pow(0.7, c);
        flat[c] = 1 / (1.0 + c);
    }
    check(127, 65, 8, steep, 60);
    check(65, 127, 8, steep, 60);
    check(200, 61, 1, steep, 60);
    check(199, 113, 16, flat, 60);
    check(64, 200, 32, flat, 60);
}

static void small_and_poor_matrices(void)
{
    const double three[] = {3, 1e-3, 2e-7}, one[] = {2};
    check(33, 5, 5, three, 3);   // all there is
    check(40, 40, 20, three, 2); // fewer directions than are asked for
    check(1, 17, 1, one, 1);
    check(17, 1, 1, one, 1);
    float up[20], down[20], a[100] = {0};
    double kept = 1;
    AT_CHECK(at_low_rank(a, 10, 10, 2, 1, up, down, &kept) && kept == 0);
    for (int i = 0; i < 20; i++)
        AT_CHECK(up[i] == 0 && down[i] == 0);
}

static bool reduce_once(void)
{
    static float a[400], up[80], down[80];
    double kept;
    a[3] = 1;
    return at_low_rank(a, 20, 20, 4, 1, up, down, &kept) || at_fail(NULL, AT_ERROR_DEVICE, "no memory");
}

static void memory_runs_out(void)
{
    fail_each_allocation(reduce_once);
}

int main(void)
{
    AT_RUN(finds_the_largest_values);
    AT_RUN(small_and_poor_matrices);
    AT_RUN(memory_runs_out);
    return at_test_end();
}
