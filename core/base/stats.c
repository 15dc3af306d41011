// SPDX-License-Identifier: Apache-2.0
#include "core/base/stats.h"

#include "core/base/alloc.h"
#include "core/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double at_mean(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return n ? sum / (double)n : 0;
}

double at_std(const double *x, size_t n)
{
    double mean = at_mean(x, n), sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return n > 1 ? sqrt(sum / (double)(n - 1)) : 0;
}

double at_normal_quantile(double confidence)
{
    // Newton's method on erfc(z / sqrt 2) = 1 - confidence, which is convex and falling for z > 0.
    double z = 0, tail = 1 - confidence;
    for (int i = 0; i < 100; i++) {
        double step = (erfc(z / M_SQRT2) - tail) / (sqrt(2 / M_PI) * exp(-z * z / 2));
        z += step;
        if (fabs(step) < 1e-14 * (1 + z))
            break;
    }
    return z;
}

struct at_interval at_wilson(double rate, double n, double confidence)
{
    if (!(n > 0))
        return (struct at_interval){rate, 0, 1};
    double z = at_normal_quantile(confidence), z2 = z * z / n;
    double centre = (rate + z2 / 2) / (1 + z2);
    double half = z * sqrt(rate * (1 - rate) / n + z2 / (4 * n)) / (1 + z2);
    return (struct at_interval){rate, fmax(fmin(centre - half, rate), 0), fmin(fmax(centre + half, rate), 1)};
}

struct at_interval at_wilson_wins(size_t wins, size_t ties, size_t losses, double confidence)
{
    double n = (double)wins + (double)ties + (double)losses;
    return at_wilson(n > 0 ? ((double)wins + 0.5 * (double)ties) / n : 0.5, n, confidence);
}

double at_win_score(double a, double b, double tolerance)
{
    if (fabs(a - b) <= tolerance)
        return 0.5;
    return a > b ? 1 : 0;
}

// Sum and count of one cluster.
struct cluster {
    double sum, count;
};

struct labelled {
    uint32_t label;
    uint32_t index;
};

static int by_label(const void *a, const void *b)
{
    const struct labelled *x = a, *y = b;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

// The clusters in order of label; the caller frees *out. 0 when out of memory.
static size_t make_clusters(const double *x, const uint32_t *label, size_t n, struct cluster **out)
{
    struct labelled *order = at_calloc(n, sizeof(*order));
    struct cluster *c = at_calloc(n, sizeof(*c));
    size_t count = 0;
    if (order && c) {
        for (size_t i = 0; i < n; i++)
            order[i] = (struct labelled){label ? label[i] : (uint32_t)i, (uint32_t)i};
        qsort(order, n, sizeof(*order), by_label);
        for (size_t i = 0; i < n; i++) {
            if (i == 0 || order[i].label != order[i - 1].label)
                count++;
            c[count - 1].sum += x[order[i].index];
            c[count - 1].count++;
        }
    } else {
        at_free(c);
        c = NULL;
    }
    at_free(order);
    *out = c;
    return count;
}

double at_effective_units(const double *x, const uint32_t *label, size_t n)
{
    struct cluster *c;
    size_t k = make_clusters(x, label, n, &c);
    double mean = at_mean(x, n), between = 0, total = 0, squares = 0;
    for (size_t i = 0; i < k; i++) {
        double d = c[i].sum / c[i].count - mean;
        between += c[i].count * d * d;
        squares += c[i].count * c[i].count;
    }
    at_free(c);
    if (k == 0 || k == n)
        return (double)k;
    if (k == 1)
        return 1; // one prompt: nothing says how prompts differ
    for (size_t i = 0; i < n; i++)
        total += (x[i] - mean) * (x[i] - mean);
    double msb = between / (double)(k - 1), msw = fmax(total - between, 0) / (double)(n - k);
    double m = ((double)n - squares / (double)n) / (double)(k - 1);
    double rho = msb + (m - 1) * msw > 0 ? (msb - msw) / (msb + (m - 1) * msw) : 1;
    rho = fmin(fmax(rho, 0), 1);
    return fmax((double)n / (1 + (m - 1) * rho), (double)k);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Linear interpolation between order statistics (numpy's default).
static double percentile(const double *sorted, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t low = (size_t)at;
    return low + 1 < n ? sorted[low] + (at - (double)low) * (sorted[low + 1] - sorted[low]) : sorted[n - 1];
}

static bool params_are_valid(const struct at_bootstrap_params *p, double confidence, struct at_log *log)
{
    if (p->n == 0 || p->n > UINT32_MAX)
        return at_fail(log, AT_ERROR_USAGE, "bootstrap: %zu comparisons; at least one is needed", p->n);
    if (!(confidence > 0 && confidence < 1))
        return at_fail(log, AT_ERROR_USAGE, "bootstrap: confidence is %g; it must lie between 0 and 1", confidence);
    for (size_t i = 0; i < p->n; i++)
        if (!isfinite(p->x[i]))
            return at_fail(log, AT_ERROR_INPUT, "bootstrap: comparison %zu is %g; every score must be finite", i,
                           p->x[i]);
    return true;
}

bool at_bootstrap_mean(const struct at_bootstrap_params *p, struct at_interval *out, struct at_log *log)
{
    double confidence = p->confidence == 0 ? 0.95 : p->confidence;
    size_t rounds = p->rounds ? p->rounds : 2000;
    if (!params_are_valid(p, confidence, log))
        return false;
    struct cluster *c;
    size_t k = make_clusters(p->x, p->cluster, p->n, &c);
    double *means = at_calloc(rounds, sizeof(*means));
    if (k == 0 || !means) {
        at_free(c);
        at_free(means);
        return at_fail_memory(log, rounds * sizeof(*means));
    }
    for (size_t r = 0; r < rounds; r++) {
        double sum = 0, count = 0;
        for (size_t i = 0; i < k; i++) {
            const struct cluster *drawn = &c[at_rng_below(p->seed, AT_STREAM_BOOTSTRAP, (uint64_t)r * k + i, k)];
            sum += drawn->sum;
            count += drawn->count;
        }
        means[r] = sum / count;
    }
    qsort(means, rounds, sizeof(*means), by_value);
    *out = (struct at_interval){at_mean(p->x, p->n), percentile(means, rounds, (1 - confidence) / 2),
                                percentile(means, rounds, (1 + confidence) / 2)};
    at_free(means);
    at_free(c);
    return true;
}
