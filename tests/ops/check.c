// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/check.h"

#include "core/base/alloc.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct ops_error ops_compare(const double *a, const double *ref, int64_t n)
{
    double top = 0, worst = 0, error = 0, power = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(ref[i]))
            return (struct ops_error){INFINITY, INFINITY};
        double d = fabs(a[i] - ref[i]);
        top = fmax(top, fabs(ref[i]));
        worst = fmax(worst, d);
        error += d * d;
        power += ref[i] * ref[i];
    }
    // Where the exact answer is zero, what remains is measured against the inputs' size, about 1.
    const double floor = 1e-6;
    top = fmax(top, floor);
    power = fmax(power, floor * floor * (double)n);
    return (struct ops_error){worst / top, error / power};
}

bool ops_error_within(struct ops_error e, double tolerance)
{
    return e.max <= tolerance && e.nmse <= tolerance * tolerance;
}

struct results {
    double *y, *dx[AT_ARITY];
    int64_t n, n_dx[AT_ARITY];
};

static void results_finish(struct results *r)
{
    at_free(r->y);
    for (int i = 0; i < AT_ARITY; i++)
        at_free(r->dx[i]);
    *r = (struct results){0};
}

static bool results_read(struct results *r, const struct ops_trial *t)
{
    *r = (struct results){.n = at_shape_count(t->y->shape)};
    r->y = ops_trial_read(t, t->y);
    bool ok = r->y;
    for (int i = 0; i < AT_ARITY; i++) {
        if (!t->dx[i])
            continue;
        r->n_dx[i] = at_shape_count(t->dx[i]->shape);
        r->dx[i] = ops_trial_read(t, t->dx[i]);
        ok = ok && r->dx[i];
    }
    return ok;
}

struct job {
    const struct at_op *op;
    const struct at_op_case *c;
    const struct ops_data *data;
    char *why;
    size_t size;
};

// One trial from start to end. Guarded trials check their guards.
static bool run_trial(const struct job *j, struct at_device *dev, struct ops_trial_params params, struct results *r)
{
    *r = (struct results){0};
    struct ops_trial *t = ops_trial_create(dev, j->op, j->c, &params, dev->log);
    bool ok = t && ops_trial_run(t, j->data) && results_read(r, t);
    if (!ok)
        snprintf(j->why, j->size, "cannot be built or run (see above)");
    ok = ok && (!params.guarded || ops_trial_intact(t, j->data, j->why, j->size));
    ops_trial_destroy(&t);
    return ok;
}

static bool agree(const struct job *j, const char *what, const double *a, const double *ref, int64_t n, double *worst)
{
    double tolerance = j->c->tolerance > 0 ? j->c->tolerance : 2e-5;
    struct ops_error e = ops_compare(a, ref, n);
    *worst = fmax(*worst, e.max);
    if (ops_error_within(e, tolerance))
        return true;
    snprintf(j->why, j->size, "%s differs: error %.3g of the largest value, NMSE %.3g; allowed %.3g and its square",
             what, e.max, e.nmse, tolerance);
    return false;
}

static bool results_agree(const struct job *j, const char *how, const struct results *a, const struct results *ref,
                          double *worst)
{
    char what[64];
    snprintf(what, sizeof(what), "%s y", how);
    bool ok = agree(j, what, a->y, ref->y, ref->n, worst);
    for (int i = 0; ok && i < AT_ARITY; i++) {
        snprintf(what, sizeof(what), "%s d(in%d)", how, i);
        if (a->dx[i])
            ok = agree(j, what, a->dx[i], ref->dx[i], ref->n_dx[i], worst);
    }
    return ok;
}

static bool results_identical(const struct job *j, const struct results *a, const struct results *b)
{
    bool same = memcmp(a->y, b->y, (size_t)a->n * sizeof(double)) == 0;
    for (int i = 0; i < AT_ARITY; i++)
        if (a->dx[i])
            same = same && memcmp(a->dx[i], b->dx[i], (size_t)a->n_dx[i] * sizeof(double)) == 0;
    if (!same)
        snprintf(j->why, j->size, "the result depends on the number of threads");
    return same;
}

// Whether the device has every op of a graph. One that lacks an op of the gradient is tested forward only.
static bool device_runs(const struct at_device *dev, const struct at_graph *g)
{
    if (strcmp(dev->kind, "vulkan") != 0)
        return true;
    for (int id = 0; id < at_graph_count(g); id++) {
        const struct at_op *op = at_graph_node(g, id)->op;
        if (op && !op->vulkan && !op->alias)
            return false;
    }
    return true;
}

// Elements of y, or 0 if the case is refused; *grad: whether the device runs the gradient too.
static int64_t inspect(struct at_device *dev, struct at_device *oracle, const struct at_op *op,
                       const struct at_op_case *c, bool *grad)
{
    struct ops_trial *t = ops_trial_create(oracle, op, c, &(struct ops_trial_params){.grad = true}, oracle->log);
    int64_t n = t ? at_shape_count(t->y->shape) : 0;
    *grad = t && device_runs(dev, t->g);
    ops_trial_destroy(&t);
    return n;
}

static bool compare_ways(const struct job *j, struct at_device *dev, struct at_device *serial, bool grad,
                         const struct results *ref, double *worst)
{
    static const struct {
        const char *name;
        struct ops_trial_params params;
    } ways[] = {
        {"guarded", {.grad = true, .guarded = true}},
        {"planned", {.grad = true}},
        {"planned, forward only,", {0}},
    };
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct results a = {0}, b = {0};
        struct ops_trial_params params = ways[i].params;
        params.grad = params.grad && grad;
        ok = run_trial(j, dev, params, &a) && results_agree(j, ways[i].name, &a, ref, worst);
        if (ok && serial && i == 0)
            ok = run_trial(j, serial, params, &b) && results_agree(j, "one thread:", &b, ref, worst) &&
                 (j->op->takes || results_identical(j, &a, &b));
        results_finish(&a);
        results_finish(&b);
    }
    return ok;
}

bool ops_check_ref(struct at_device *dev, struct at_device *serial, struct at_device *oracle, const struct at_op *op,
                   const struct at_op_case *c, uint64_t seed, double *worst, char *why, size_t size)
{
    struct ops_data data = {0};
    struct results ref = {0};
    struct job j = {.op = op, .c = c, .data = &data, .why = why, .size = size};
    *worst = 0;
    snprintf(why, size, "cannot be built");
    bool grad;
    int64_t n = inspect(dev, oracle, op, c, &grad);
    bool ok = n > 0 && ops_data_init(&data, c, n, seed) &&
              run_trial(&j, oracle, (struct ops_trial_params){.grad = true, .guarded = true}, &ref) &&
              compare_ways(&j, dev, serial, grad, &ref, worst);
    if (ok)
        snprintf(why, size, "%s",
                 grad || !ops_case_differentiable(op, c) ? "" : ", without the gradient: an op is missing");
    results_finish(&ref);
    ops_data_finish(&data);
    return ok;
}
