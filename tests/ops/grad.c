// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/check.h"

#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/graph/gradient.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SMALL 200      // inputs up to this many elements are checked element by element
#define DIRECTIONS 6   // of larger ones
#define ELEMENTS 24    // and so many single elements
#define TOLERANCE 1e-6 // truncation (1e-4)^4 and rounding 1e-16 / 1e-4 of a smooth function both stay below 1e-9

struct probe {
    struct ops_trial *t; // forward only
    struct ops_data *data;
    double *saved, *dir; // the input as it was; the direction
    double step;
    bool failed;
};

static double loss(struct probe *p)
{
    double sum = 0, *y = ops_trial_run(p->t, p->data) ? ops_trial_read(p->t, p->t->y) : NULL;
    for (int64_t i = 0; y && i < p->data->n[OPS_DY]; i++)
        sum += p->data->x[OPS_DY][i] * y[i];
    p->failed = p->failed || !y;
    at_free(y);
    return sum;
}

static double loss_at(struct probe *p, int slot, double h)
{
    double *x = p->data->x[slot];
    for (int64_t i = 0; i < p->data->n[slot]; i++)
        x[i] = p->saved[i] + h * p->dir[i];
    double f = loss(p);
    for (int64_t i = 0; i < p->data->n[slot]; i++)
        x[i] = p->saved[i];
    return f;
}

static double derivative(struct probe *p, int slot)
{
    double h = p->step;
    return (8 * (loss_at(p, slot, h) - loss_at(p, slot, -h)) - (loss_at(p, slot, 2 * h) - loss_at(p, slot, -2 * h))) /
           (12 * h);
}

struct verdict {
    double scale, worst;
    char *why;
    size_t size;
};

static bool judge(struct verdict *v, int slot, const char *what, int64_t at, double analytic, double numeric)
{
    double e = fabs(analytic - numeric) / v->scale;
    v->worst = fmax(v->worst, isfinite(e) ? e : INFINITY);
    bool sign = fabs(numeric) < 10 * TOLERANCE * v->scale || (analytic < 0) == (numeric < 0);
    if (e <= TOLERANCE && sign)
        return true;
    snprintf(v->why, v->size, "d(in%d) at %s %lld is %.9g, differences give %.9g%s", slot, what, (long long)at,
             analytic, numeric, sign ? "" : ": the sign is wrong");
    return false;
}

static bool check_elements(struct probe *p, int slot, const double *dx, uint64_t seed, struct verdict *v)
{
    int64_t n = p->data->n[slot], count = n <= SMALL ? n : ELEMENTS;
    for (int64_t k = 0; k < count; k++) {
        int64_t i = n <= SMALL ? k : (int64_t)at_rng_below(seed, AT_STREAM_DATA, (uint64_t)k, (uint64_t)n);
        p->dir[i] = 1;
        double numeric = derivative(p, slot);
        p->dir[i] = 0;
        if (p->failed || !judge(v, slot, "element", i, dx ? dx[i] : 0, numeric))
            return false;
    }
    return true;
}

static bool check_directions(struct probe *p, int slot, const double *dx, uint64_t seed, struct verdict *v)
{
    int64_t n = p->data->n[slot];
    for (int64_t k = 0; n > SMALL && k < DIRECTIONS; k++) {
        double analytic = 0, power = 0;
        for (int64_t i = 0; i < n; i++) {
            p->dir[i] = 2 * at_rng_uniform(seed + (uint64_t)k, AT_STREAM_NOISE, (uint64_t)i) - 1;
            double term = dx ? dx[i] * p->dir[i] : 0;
            analytic += term;
            power += term * term;
        }
        struct verdict local = *v;
        local.scale = fmax(v->scale, sqrt(power));
        double numeric = derivative(p, slot);
        bool ok = !p->failed && judge(&local, slot, "direction", k, analytic, numeric);
        v->worst = local.worst;
        if (!ok)
            return false;
    }
    for (int64_t i = 0; i < n; i++)
        p->dir[i] = 0;
    return true;
}

static double largest(const double *x, int64_t n)
{
    double top = 0;
    for (int64_t i = 0; x && i < n; i++)
        top = fmax(top, fabs(x[i]));
    return top;
}

static bool check_input(struct probe *p, const struct ops_trial *back, int slot, uint64_t seed, struct verdict *v)
{
    int64_t n = p->data->n[slot];
    double *dx = back->dx[slot] ? ops_trial_read(back, back->dx[slot]) : NULL;
    p->saved = at_calloc((size_t)n, sizeof(double));
    p->dir = at_calloc((size_t)n, sizeof(double));
    bool ok = p->saved && p->dir && (dx || !back->dx[slot]);
    for (int64_t i = 0; ok && i < n; i++)
        p->saved[i] = p->data->x[slot][i];
    v->scale = fmax(largest(dx, n), 1e-4);
    ok = ok && check_elements(p, slot, dx, seed, v) && check_directions(p, slot, dx, seed, v);
    at_free(dx);
    at_free(p->saved);
    at_free(p->dir);
    p->saved = p->dir = NULL;
    return ok;
}

bool ops_check_grad(struct at_device *oracle, const struct at_op *op, const struct at_op_case *c, uint64_t seed,
                    void (*prepare)(struct ops_data *data), double *worst, char *why, size_t size)
{
    struct ops_data data = {0};
    struct verdict v = {.why = why, .size = size};
    snprintf(why, size, "cannot be built or run (see above)");
    double width = ((double)c->high - (double)c->low) / 2;
    struct probe p = {.data = &data, .step = 1e-4 * (width > 0 ? width : 1)};
    struct ops_trial *back =
        ops_trial_create(oracle, op, c, &(struct ops_trial_params){.grad = true, .guarded = true}, oracle->log);
    p.t = ops_trial_create(oracle, op, c, &(struct ops_trial_params){.guarded = true}, oracle->log);
    bool ok = back && p.t && ops_data_init(&data, c, at_shape_count(back->y->shape), seed);
    if (ok && prepare)
        prepare(&data);
    ok = ok && ops_trial_run(back, &data);
    for (int i = 0; ok && i < AT_ARITY; i++)
        if (ops_case_wants(op, c, i))
            ok = check_input(&p, back, i, seed, &v);
    *worst = v.worst;
    ops_trial_destroy(&back);
    ops_trial_destroy(&p.t);
    ops_data_finish(&data);
    return ok;
}

struct note {
    const char *name;
    bool seen;
};

static void take_note(void *priv, enum at_level level, const char *text)
{
    struct note *n = priv;
    n->seen = n->seen || (level == AT_LEVEL_ERROR && strstr(text, n->name));
}

bool ops_check_refusal(const struct at_op *op, const struct at_op_case *c)
{
    struct note note = {.name = op->name};
    struct at_log log = {.write = take_note, .priv = &note};
    struct at_graph *g = at_graph_create(&log);
    struct at_node *in[AT_ARITY] = {0}, *wrt[AT_ARITY], *dx[AT_ARITY], *y = NULL, *dy = NULL;
    int n = 0;
    for (int i = 0; g && i < AT_ARITY; i++) {
        if (c->in[i].rank)
            in[i] = at_graph_input(g, "in", c->in[i], at_case_dtype(c, i));
        if (in[i] && ops_case_wants(op, c, i))
            wrt[n++] = in[i];
    }
    y = g ? at_graph_append(g, op, in, AT_ARITY, &c->attr, c->shape.rank ? &c->shape : NULL) : NULL;
    dy = y ? at_graph_input(g, "dy", y->shape, AT_F32) : NULL;
    struct at_seed seed = {y, dy};
    struct at_gradient_params params = {.seeds = &seed, .seed_count = 1, .wrt = wrt, .dx = dx, .wrt_count = n};
    bool refused = dy && !at_graph_backward(g, &params) && note.seen;
    bool ok = dy && (refused || n == 0);
    at_graph_destroy(&g);
    return ok;
}
