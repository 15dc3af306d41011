// SPDX-License-Identifier: Apache-2.0
#include "pipelines/lora/low_rank.h"

#include "core/base/alloc.h"
#include "core/base/rng.h"

#include <math.h>

#define SPARE 16   // columns more than are asked for
#define POWERS 4  // times that a passes over the subspace, each way
#define SWEEPS 40
#define LOST 1e-6 // of a column's norm, left when it is no new direction

struct space {
    int64_t m, n;
    int k;
    float *y, *x;      // (m,k), (n,k)
    double *columns;   // (k, larger of m and n)
    double *gram, *vectors; // (k,k)
};

// to (k) += sum of four times four rows
static void add_rows(float *to, const float *from, int64_t stride, const float factor[4], int k)
{
    const float *a = from, *b = a + stride, *c = b + stride, *d = c + stride;
    for (int i = 0; i < k; i++)
        to[i] += factor[0] * a[i] + factor[1] * b[i] + factor[2] * c[i] + factor[3] * d[i];
}

static void add_row(float *to, const float *from, float factor, int k)
{
    for (int i = 0; i < k; i++)
        to[i] += factor * from[i];
}

// y (m,k) = a (m,n) x (n,k)
static void forward(const float *a, const struct space *s)
{
    int64_t n = s->n;
    int k = s->k;
    for (int64_t i = 0; i < s->m; i++) {
        float *to = s->y + i * k;
        const float *row = a + i * n;
        int64_t j = 0;
        for (int c = 0; c < k; c++)
            to[c] = 0;
        for (; j + 4 <= n; j += 4)
            add_rows(to, s->x + j * k, k, row + j, k);
        for (; j < n; j++)
            add_row(to, s->x + j * k, row[j], k);
    }
}

// x (n,k) = a^T y (m,k)
static void backward(const float *a, const struct space *s)
{
    int64_t n = s->n, i = 0;
    int k = s->k;
    for (int64_t c = 0; c < n * k; c++)
        s->x[c] = 0;
    for (; i + 4 <= s->m; i += 4)
        for (int64_t j = 0; j < n; j++) {
            const float *at = a + i * n + j, factor[4] = {at[0], at[n], at[2 * n], at[3 * n]};
            add_rows(s->x + j * k, s->y + i * k, k, factor, k);
        }
    for (; i < s->m; i++)
        for (int64_t j = 0; j < n; j++)
            add_row(s->x + j * k, s->y + i * k, a[i * n + j], k);
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

// Columns of y (rows,k) made orthonormal, by Gram and Schmidt, twice; a column that is no new direction becomes zero.
static void orthonormalise(float *y, int64_t rows, int k, double *columns)
{
    for (int64_t i = 0; i < rows; i++)
        for (int c = 0; c < k; c++)
            columns[c * rows + i] = (double)y[i * k + c];
    for (int c = 0; c < k; c++) {
        double *v = columns + c * rows, before = sqrt(dot(v, v, rows));
        for (int p = 0; p < 2 * c; p++) {
            const double *u = columns + p % c * rows;
            double share = dot(u, v, rows);
            for (int64_t i = 0; i < rows; i++)
                v[i] -= share * u[i];
        }
        double norm = sqrt(dot(v, v, rows)), scale = norm > LOST * before ? 1 / norm : 0;
        for (int64_t i = 0; i < rows; i++)
            v[i] *= scale;
    }
    for (int64_t i = 0; i < rows; i++)
        for (int c = 0; c < k; c++)
            y[i * k + c] = (float)columns[c * rows + i];
}

// gram (k,k) = x^T x
static void make_gram(const struct space *s)
{
    int k = s->k;
    for (int c = 0; c < k * k; c++)
        s->gram[c] = 0;
    for (int64_t i = 0; i < s->n; i++)
        for (int p = 0; p < k; p++) {
            double value = (double)s->x[i * k + p];
            for (int q = 0; q < k; q++)
                s->gram[p * k + q] += value * (double)s->x[i * k + q];
        }
}

// Turns rows and columns p and q of g so that g[p][q] is 0 (Jacobi; Golub and Van Loan, 8.5).
static void rotate(double *g, double *v, int k, int p, int q)
{
    double apq = g[p * k + q];
    if (apq == 0)
        return;
    double tau = (g[q * k + q] - g[p * k + p]) / (2 * apq);
    double t = (tau >= 0 ? 1 : -1) / (fabs(tau) + sqrt(1 + tau * tau)), c = 1 / sqrt(1 + t * t), s = t * c;
    for (int i = 0; i < k; i++) {
        double a = g[i * k + p], b = g[i * k + q], x = v[i * k + p], y = v[i * k + q];
        g[i * k + p] = c * a - s * b;
        g[i * k + q] = s * a + c * b;
        v[i * k + p] = c * x - s * y;
        v[i * k + q] = s * x + c * y;
    }
    for (int i = 0; i < k; i++) {
        double a = g[p * k + i], b = g[q * k + i];
        g[p * k + i] = c * a - s * b;
        g[q * k + i] = s * a + c * b;
    }
}

// gram becomes diagonal; the columns of `vectors` are its eigenvectors.
static void diagonalise(const struct space *s)
{
    int k = s->k;
    for (int i = 0; i < k * k; i++)
        s->vectors[i] = i % (k + 1) == 0;
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        double off = 0, all = 0;
        for (int i = 0; i < k * k; i++) {
            all += s->gram[i] * s->gram[i];
            off += i % (k + 1) ? s->gram[i] * s->gram[i] : 0;
        }
        if (off <= 1e-24 * all)
            return;
        for (int p = 0; p < k; p++)
            for (int q = p + 1; q < k; q++)
                rotate(s->gram, s->vectors, k, p, q);
    }
}

// The largest eigenvalue that is left, which is taken out; -1: none.
static int take_largest(const struct space *s, double *value)
{
    int best = -1;
    *value = 0;
    for (int i = 0; i < s->k; i++)
        if (s->gram[i * (s->k + 1)] > *value)
            best = i, *value = s->gram[i * (s->k + 1)];
    if (best >= 0)
        s->gram[best * (s->k + 1)] = 0;
    return best;
}

// row (k) times an eigenvector
static float through(const struct space *s, const float *row, int vector, double scale)
{
    double sum = 0;
    for (int c = 0; c < s->k; c++)
        sum += (double)row[c] * s->vectors[c * s->k + vector];
    return (float)(sum * scale);
}

static void fill(const struct space *s, int rank, float *up, float *down, double *kept)
{
    *kept = 0;
    for (int r = 0; r < rank; r++) {
        double value;
        int v = take_largest(s, &value);
        double half = sqrt(sqrt(value)); // of the singular value, the root of `value`
        for (int64_t i = 0; i < s->m; i++)
            up[i * rank + r] = v < 0 ? 0 : through(s, s->y + i * s->k, v, half);
        for (int64_t j = 0; j < s->n; j++)
            down[r * s->n + j] = v < 0 ? 0 : through(s, s->x + j * s->k, v, 1 / half);
        *kept += value;
    }
}

bool at_low_rank(const float *a, int64_t m, int64_t n, int rank, uint64_t seed, float *up, float *down, double *kept)
{
    int64_t least = m < n ? m : n, most = m < n ? n : m;
    struct space s = {.m = m, .n = n, .k = rank + SPARE < least ? rank + SPARE : (int)least};
    size_t k = (size_t)s.k;
    s.y = at_calloc((size_t)m * k, sizeof(*s.y));
    s.x = at_calloc((size_t)n * k, sizeof(*s.x));
    s.columns = at_calloc((size_t)most * k, sizeof(*s.columns));
    s.gram = at_calloc(k * k, sizeof(*s.gram));
    s.vectors = at_calloc(k * k, sizeof(*s.vectors));
    bool ok = s.y && s.x && s.columns && s.gram && s.vectors;
    if (ok)
        at_rng_normal(s.x, (size_t)n * k, seed, 0, 0);
    for (int i = 0; ok && i < POWERS; i++) {
        forward(a, &s);
        orthonormalise(s.y, m, s.k, s.columns);
        backward(a, &s);
        if (i + 1 < POWERS)
            orthonormalise(s.x, n, s.k, s.columns);
    }
    if (ok) {
        make_gram(&s);
        diagonalise(&s);
        fill(&s, rank, up, down, kept);
    }
    at_free(s.y);
    at_free(s.x);
    at_free(s.columns);
    at_free(s.gram);
    at_free(s.vectors);
    return ok;
}
