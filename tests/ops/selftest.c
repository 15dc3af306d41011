// SPDX-License-Identifier: Apache-2.0
// The harness tested: ops and devices broken on purpose must be found.
#include "tests/ops/ops.h"

#include "core/cpu/cpu.h"
#include "core/ops/build.h"
#include "tests/harness.h"
#include "tests/ops/check.h"

#include <math.h>

static struct at_log *the_log;
static struct at_device *the_oracle;

static const struct at_op_case small = {.in = {{2, {3, 37}}}, .attr = {.i = {AT_ACT_GELU}}, .low = -4, .high = 4};
static const struct at_op_case large = {.in = {{3, {4, 9, 33}}}, .attr = {.i = {AT_ACT_SILU}}, .low = -4, .high = 4};

static bool grad_ok(const struct at_op *op, const struct at_op_case *c, void (*prepare)(struct ops_data *))
{
    char why[256];
    double worst;
    return ops_check_grad(the_oracle, op, c, 1, prepare, &worst, why, sizeof(why));
}

static bool ref_ok(struct at_device *dev, const struct at_op *op, const struct at_op_case *c)
{
    char why[256];
    double worst;
    return ops_check_ref(dev, NULL, the_oracle, op, c, 1, &worst, why, sizeof(why));
}

// --- wrong gradients ------------------------------------------------------------------------------------------------
static const struct at_op *original;

static void scale_all(struct at_backward *b, float factor)
{
    original->backward(b);
    for (int i = 0; i < AT_ARITY; i++)
        if (b->dx[i])
            b->dx[i] = at_scale(b->g, b->dx[i], factor, 0);
}

static void backward_thrice(struct at_backward *b)
{
    scale_all(b, 3);
}

static void backward_flipped(struct at_backward *b)
{
    scale_all(b, -1);
}

static void backward_slightly_off(struct at_backward *b)
{
    scale_all(b, 1.0001f);
}

static void backward_of_another(struct at_backward *b)
{
    b->dx[0] = at_act_bwd(b->g, b->dy, b->in[0], AT_ACT_QUICK_GELU);
}

static struct at_op broken(const struct at_op *op, void (*backward)(struct at_backward *b))
{
    original = op;
    struct at_op copy = *op;
    copy.backward = backward;
    return copy;
}

static void wrong_gradients_are_found(void)
{
    void (*const wrong[])(struct at_backward *) = {backward_thrice, backward_flipped, backward_slightly_off,
                                                   backward_of_another};
    AT_CHECK(grad_ok(&at_op_act, &small, NULL));
    AT_CHECK(grad_ok(&at_op_act, &large, NULL));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct at_op op = broken(&at_op_act, wrong[i]);
        AT_CHECK(!grad_ok(&op, &small, NULL));
        AT_CHECK(!grad_ok(&op, &large, NULL));
    }
}

static void set_gamma_to_one(struct ops_data *d)
{
    for (int64_t i = 0; i < d->n[1]; i++)
        d->x[1][i] = 1;
}

static void set_gamma_and_weights_to_one(struct ops_data *d)
{
    set_gamma_to_one(d);
    for (int64_t i = 0; i < d->n[OPS_DY]; i++)
        d->x[OPS_DY][i] = 1;
}

static void backward_thrice_for_x(struct at_backward *b)
{
    original->backward(b);
    b->dx[0] = at_scale(b->g, b->dx[0], 3, 0);
}

// With gamma 1, sum(y) of a normalisation does not depend on x: a check with that loss passes whatever the gradient is.
static void wrong_gradients_are_found_where_a_plain_sum_is_blind(void)
{
    static const struct at_op_case layer = {
        .in = {{2, {4, 12}}, {1, {12}}, {1, {12}}}, .attr = {.f = {1e-5f}}, .low = -2, .high = 2};
    static const struct at_op_case group = {
        .in = {{3, {2, 5, 8}}, {1, {8}}, {1, {8}}}, .attr = {.i = {2}, .f = {1e-5f}}, .low = -2, .high = 2};
    const struct {
        const struct at_op *op;
        const struct at_op_case *c;
    } norms[] = {{&at_op_layer_norm, &layer}, {&at_op_group_norm, &group}};
    for (size_t i = 0; i < sizeof(norms) / sizeof(norms[0]); i++) {
        struct at_op op = broken(norms[i].op, backward_thrice_for_x);
        AT_CHECK(grad_ok(norms[i].op, norms[i].c, set_gamma_to_one));
        AT_CHECK(grad_ok(&op, norms[i].c, set_gamma_and_weights_to_one)); // blind
        AT_CHECK(!grad_ok(&op, norms[i].c, set_gamma_to_one));
    }
    static const struct at_op_case attention = {.in = {{3, {1, 3, 4}}, {3, {1, 5, 4}}, {3, {1, 5, 4}}},
                                                .attr = {.i = {2}, .f = {0.7f}}};
    struct at_op op = broken(&at_op_attention, backward_thrice_for_x);
    AT_CHECK(grad_ok(&at_op_attention, &attention, NULL));
    AT_CHECK(!grad_ok(&op, &attention, NULL));
}

// --- wrong values ---------------------------------------------------------------------------------------------------
static void errors_are_measured(void)
{
    double ref[4] = {1, -2, 3, -4}, a[4] = {1, -2, 3, -4};
    AT_CHECK(ops_error_within(ops_compare(a, ref, 4), 1e-12));
    a[1] = -2.001;
    AT_CHECK_NEAR(ops_compare(a, ref, 4).max, 0.001 / 4, 1e-12);
    AT_CHECK_NEAR(ops_compare(a, ref, 4).nmse, 1e-6 / 30, 1e-12);
    AT_CHECK(!ops_error_within(ops_compare(a, ref, 4), 2e-5));
    a[1] = NAN;
    AT_CHECK(!ops_error_within(ops_compare(a, ref, 4), 1));
    a[1] = INFINITY;
    AT_CHECK(!ops_error_within(ops_compare(a, ref, 4), 1));
    double zero[2] = {0, 0}, noise[2] = {1e-3, 0};
    AT_CHECK(ops_error_within(ops_compare(zero, zero, 2), 1e-9));
    AT_CHECK(!ops_error_within(ops_compare(noise, zero, 2), 2e-5));
}

// --- a device whose runs do harm ------------------------------------------------------------------------------------
static struct {
    const struct at_device_api *api;
    const struct at_plan *plan;
    struct at_buffer *const *arena;
    int64_t where; // element of the output that is overwritten: -1 and count lie outside
    bool input;    // of the first input instead
} harm;

static struct at_run *harmful_compile(struct at_device *dev, const struct at_plan *plan, struct at_buffer *const *arena)
{
    harm.plan = plan;
    harm.arena = arena;
    return harm.api->compile(dev, plan, arena);
}

static bool harmful_run(struct at_device *dev, struct at_run *run, int phase)
{
    if (!harm.api->run(dev, run, phase))
        return false;
    for (int id = 0; id < at_graph_count(harm.plan->graph); id++) {
        const struct at_node *n = at_graph_node(harm.plan->graph, id);
        if (harm.input ? id != 0 : !n->op || strcmp(n->name ? n->name : "", "y") != 0)
            continue;
        const struct at_place *p = &harm.plan->place[id];
        struct at_buffer *b = p->store ? p->store->buffer : harm.arena[p->chunk];
        const float value = 0.25f;
        size_t offset = (size_t)((int64_t)p->offset + harm.where * (int64_t)sizeof(float));
        return harm.api->write(dev, b, offset, &value, 1, AT_F32);
    }
    return true;
}

static void harm_is_found(struct at_device *dev, const struct at_op *op, const struct at_op_case *c, int64_t where,
                          bool input)
{
    harm.where = where;
    harm.input = input;
    struct at_device_api api = *dev->api;
    harm.api = dev->api;
    api.compile = harmful_compile;
    api.run = harmful_run;
    AT_CHECK(ref_ok(dev, op, c));
    dev->api = &api;
    AT_CHECK(!ref_ok(dev, op, c));
    dev->api = harm.api;
}

static void overruns_are_found(void)
{
    static const struct at_op_case fill = {.in = {{1, {37}}}, .attr = {.f = {0.5f}}};
    struct at_device *dev = at_cpu_open(&(struct at_cpu_params){.threads = 2}, the_log);
    if (!AT_CHECK(dev))
        return;
    int64_t n = at_shape_count(small.in[0]);
    harm_is_found(dev, &at_op_act, &small, n, false);  // one past the end
    harm_is_found(dev, &at_op_act, &small, -1, false); // one before the beginning
    harm_is_found(dev, &at_op_act, &small, n / 2, false);
    harm_is_found(dev, &at_op_act, &small, 0, true);   // an input
    harm_is_found(dev, &at_op_fill, &fill, 37, false); // behind an updated tensor
    harm_is_found(dev, &at_op_fill, &fill, -1, false);
    at_device_close(&dev);
}

int ops_selftest(struct at_log *log)
{
    the_log = log;
    the_oracle = at_cpu_open(&(struct at_cpu_params){.oracle = true, .threads = 1}, log);
    if (!the_oracle)
        return 1;
    AT_RUN(errors_are_measured);
    AT_RUN(wrong_gradients_are_found);
    AT_RUN(wrong_gradients_are_found_where_a_plain_sum_is_blind);
    AT_RUN(overruns_are_found);
    at_device_close(&the_oracle);
    return at_test_end();
}
