// SPDX-License-Identifier: Apache-2.0
// Ops and their gradients on the CPU device against PyTorch and diffusers; the vectors are made by make_ops.py.
#include "core/base/alloc.h"
#include "core/cpu/cpu.h"
#include "core/graph/gradient.h"
#include "core/io/safetensors.h"
#include "core/ops/build.h"
#include "tests/harness.h"
#include "tests/ops/check.h"

#include <stdlib.h>

static struct at_log the_log;
static struct at_device *dev;
static struct at_safetensors *golden;

struct golden_case {
    const char *name;
    struct at_node *(*build)(struct at_graph *g, struct at_node **in);
    double tolerance; // 0: 1e-5
};

#define BUILD(name, expression)                                                                                        \
    static struct at_node *name(struct at_graph *g, struct at_node **in)                                               \
    {                                                                                                                  \
        return expression;                                                                                             \
    }

BUILD(matmul_linear, at_matmul(g, in[0], in[1], &(struct at_matmul_params){.tb = true}))
BUILD(matmul_plain, at_matmul(g, in[0], in[1], &(struct at_matmul_params){0}))
BUILD(matmul_ta, at_matmul(g, in[0], in[1], &(struct at_matmul_params){.ta = true, .alpha = 0.5f}))
BUILD(conv_s1, at_conv2d(g, in[0], in[1], &(struct at_conv_params){.top = 1, .left = 1, .bottom = 1, .right = 1}))
BUILD(conv_s2,
      at_conv2d(g, in[0], in[1], &(struct at_conv_params){.stride = 2, .top = 1, .left = 1, .bottom = 1, .right = 1}))
BUILD(conv_s2_corner, at_conv2d(g, in[0], in[1], &(struct at_conv_params){.stride = 2, .bottom = 1, .right = 1}))
BUILD(conv_1x1, at_conv2d(g, in[0], in[1], &(struct at_conv_params){0}))
BUILD(attention_cross, at_attention(g, in[0], in[1], in[2], &(struct at_attention_params){.heads = 2}))
BUILD(attention_causal, at_attention(g, in[0], in[1], in[2], &(struct at_attention_params){.heads = 3, .causal = true}))
BUILD(group_norm, at_group_norm(g, in[0], in[1], in[2], &(struct at_norm_params){.groups = 4, .eps = 1e-5f}))
BUILD(group_norm_silu,
      at_group_norm(g, in[0], in[1], in[2], &(struct at_norm_params){.groups = 2, .eps = 1e-6f, .act = AT_ACT_SILU}))
BUILD(layer_norm, at_layer_norm(g, in[0], in[1], in[2], 1e-5f))
BUILD(silu, at_act(g, in[0], AT_ACT_SILU))
BUILD(gelu, at_act(g, in[0], AT_ACT_GELU))
BUILD(quick_gelu, at_act(g, in[0], AT_ACT_QUICK_GELU))
BUILD(relu, at_act(g, in[0], AT_ACT_RELU))
BUILD(tanh_act, at_act(g, in[0], AT_ACT_TANH))
BUILD(geglu, at_geglu(g, in[0]))
BUILD(upsample_2x, at_upsample(g, in[0], 6, 8))
BUILD(upsample_odd, at_upsample(g, in[0], 7, 9))
BUILD(embed, at_embed(g, in[0], in[1]))
BUILD(sinusoid, at_sinusoid(g, in[0], &(struct at_sinusoid_params){.dim = 16, .flip = true}))
BUILD(sinusoid_plain, at_sinusoid(g, in[0], &(struct at_sinusoid_params){.dim = 10, .shift = 1}))
BUILD(sq_err, at_sq_err(g, in[0], in[1], in[2]))
BUILD(abs_err, at_abs_err(g, in[0], in[1]))
BUILD(gaussian_sample, at_gaussian_sample(g, in[0], in[1]))
BUILD(gaussian_kl, at_gaussian_kl(g, in[0]))
BUILD(bias_sample, at_bias(g, in[0], in[1]))
BUILD(concat, at_concat(g, in[0], in[1]))
BUILD(slice, at_slice(g, in[0], 2, 3))
BUILD(diff_h, at_diff(g, in[0], 1))
BUILD(diff_w, at_diff(g, in[0], 2))
BUILD(pick, at_pick(g, in[0], in[1]))
BUILD(scale_rows, at_scale_rows(g, in[0], in[1]))
BUILD(sum_sample, at_sum_rows(g, in[0], true))

static const struct golden_case cases[] = {
    {"matmul_linear", matmul_linear, 0},
    {"matmul_plain", matmul_plain, 0},
    {"matmul_ta", matmul_ta, 0},
    {"conv_s1", conv_s1, 0},
    {"conv_s2", conv_s2, 0},
    {"conv_s2_corner", conv_s2_corner, 0},
    {"conv_1x1", conv_1x1, 0},
    {"attention_cross", attention_cross, 0},
    {"attention_causal", attention_causal, 0},
    {"group_norm", group_norm, 0},
    {"group_norm_silu", group_norm_silu, 0},
    {"layer_norm", layer_norm, 0},
    {"silu", silu, 0},
    {"gelu", gelu, 0},
    {"quick_gelu", quick_gelu, 0},
    {"relu", relu, 0},
    {"tanh", tanh_act, 0},
    {"geglu", geglu, 0},
    {"upsample_2x", upsample_2x, 0},
    {"upsample_odd", upsample_odd, 0},
    {"embed", embed, 0},
    // diffusers computes the angle, up to 999, in float: it is itself off by up to 6e-5.
    {"sinusoid", sinusoid, 1e-4},
    {"sinusoid_plain", sinusoid_plain, 1e-4},
    {"sq_err", sq_err, 0},
    {"sq_err_mask", sq_err, 0},
    {"abs_err", abs_err, 0},
    {"gaussian_sample", gaussian_sample, 0},
    {"gaussian_kl", gaussian_kl, 0},
    {"bias_sample", bias_sample, 0},
    {"concat", concat, 0},
    {"slice", slice, 0},
    {"diff_h", diff_h, 0},
    {"diff_w", diff_w, 0},
    {"pick", pick, 0},
    {"scale_rows", scale_rows, 0},
    {"sum_sample", sum_sample, 0},
};

static const struct at_st_tensor *tensor(const char *name, const char *part)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", name, part);
    return at_safetensors_find(golden, path);
}

// The values as float, or as int32_t for I32. at_free it.
static void *values(const struct at_st_tensor *t)
{
    float *x = at_calloc(t->elements, sizeof(*x));
    if (x && t->dtype == AT_ST_I32)
        memcpy(x, t->data, t->bytes);
    else if (x && !at_safetensors_to_f32(golden, t, x)) {
        at_free(x);
        return NULL;
    }
    return x;
}

static struct at_node *input(struct at_graph *g, const struct at_st_tensor *t)
{
    struct at_shape s = {.rank = t->rank};
    for (int i = 0; i < t->rank; i++)
        s.dim[i] = (int64_t)t->shape[i];
    return at_graph_input(g, t->name, s, t->dtype == AT_ST_I32 ? AT_I32 : AT_F32);
}

static bool feed(struct at_exec *exec, const struct at_node *n, const struct at_st_tensor *t)
{
    void *x = values(t);
    bool ok = x && at_exec_write(exec, n, x);
    at_free(x);
    return ok;
}

static void near(const char *what, const float *a, const struct at_st_tensor *t, double tolerance)
{
    float *ref = values(t);
    double *x = at_calloc(t->elements, sizeof(*x)), *y = at_calloc(t->elements, sizeof(*y));
    if (AT_CHECK(ref && x && y)) {
        for (uint64_t i = 0; i < t->elements; i++) {
            x[i] = (double)a[i];
            y[i] = (double)ref[i];
        }
        struct ops_error e = ops_compare(x, y, (int64_t)t->elements);
        if (!ops_error_within(e, tolerance)) {
            at_test_failures++;
            printf("FAIL %s %s: error %.3g of the largest value, NMSE %.3g; allowed %.3g and its square\n",
                   at_test_name, what, e.max, e.nmse, tolerance);
        }
    }
    at_free(ref);
    at_free(x);
    at_free(y);
}

static void check_node(struct at_exec *exec, const struct at_node *n, const char *part, double tolerance)
{
    const struct at_st_tensor *t = tensor(at_test_name, part);
    if (!AT_CHECK(n && t))
        return;
    AT_CHECK_INT(at_shape_count(n->shape), t->elements);
    float *x = at_calloc((size_t)at_shape_count(n->shape), sizeof(*x));
    if (AT_CHECK(x && (uint64_t)at_shape_count(n->shape) == t->elements && at_exec_read(exec, n, x)))
        near(part, x, t, tolerance);
    at_free(x);
}

static const char *const in_names[AT_ARITY] = {"in0", "in1", "in2", "in3", "in4", "in5"};
static const char *const grad_names[AT_ARITY] = {"d0", "d1", "d2", "d3", "d4", "d5"};

struct built {
    struct at_node *in[AT_ARITY], *y, *dy, *dx[AT_ARITY];
};

static bool build(struct at_graph *g, const struct golden_case *c, struct built *b)
{
    struct at_node *wrt[AT_ARITY], *dx[AT_ARITY];
    int n = 0, slot[AT_ARITY];
    for (int i = 0; i < AT_ARITY; i++) {
        const struct at_st_tensor *t = tensor(c->name, in_names[i]);
        b->in[i] = t ? input(g, t) : NULL;
        if (tensor(c->name, grad_names[i])) {
            wrt[n] = b->in[i];
            slot[n++] = i;
        }
    }
    b->y = at_graph_output(g, c->build(g, b->in), "y");
    const struct at_st_tensor *dy = tensor(c->name, "dy");
    if (!b->y || !dy)
        return b->y;
    b->dy = input(g, dy);
    struct at_seed seed = {b->y, b->dy};
    if (!at_graph_backward(
            g, &(struct at_gradient_params){.seeds = &seed, .seed_count = 1, .wrt = wrt, .dx = dx, .wrt_count = n}))
        return false;
    for (int i = 0; i < n; i++)
        b->dx[slot[i]] = at_graph_output(g, dx[i], "dx");
    return at_graph_ok(g);
}

static void check_case(const struct golden_case *c)
{
    at_test_name = c->name;
    double tolerance = c->tolerance > 0 ? c->tolerance : 1e-5;
    struct built b = {0};
    struct at_graph *g = at_graph_create(&the_log);
    struct at_exec *exec = g && build(g, c, &b) ? at_exec_create(dev, g) : NULL;
    bool ok = AT_CHECK(exec);
    for (int i = 0; ok && i < AT_ARITY; i++)
        ok = !b.in[i] || feed(exec, b.in[i], tensor(c->name, in_names[i]));
    ok = ok && (!b.dy || feed(exec, b.dy, tensor(c->name, "dy"))) && at_exec_run(exec, 0);
    if (AT_CHECK(ok)) {
        check_node(exec, b.y, "y", tolerance);
        for (int i = 0; i < AT_ARITY; i++)
            if (b.dx[i])
                check_node(exec, b.dx[i], grad_names[i], tolerance);
    }
    at_exec_destroy(&exec);
    at_graph_destroy(&g);
}

static void ops_agree_with_pytorch(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_case(&cases[i]);
}

#define WEIGHTS 37

static bool adamw_step(struct at_exec *exec, struct at_node *grad, struct at_node *scalars, int step)
{
    char name[8];
    snprintf(name, sizeof(name), "g%d", step);
    const struct at_st_tensor *t = tensor("adamw", name);
    const double b1 = 0.9, b2 = 0.99;
    float s[8] = {1e-2f, (float)b1, (float)b2, 1e-8f, 0.1f, (float)(1 - pow(b1, step)), (float)(1 - pow(b2, step)), 1};
    return t && feed(exec, grad, t) && at_exec_write(exec, scalars, s) && at_exec_run(exec, 0);
}

static void adamw_takes_the_steps_of_pytorch(void)
{
    struct at_store *w = at_store_create(dev, WEIGHTS, AT_USE_WEIGHTS, &the_log);
    struct at_store *m = at_store_create(dev, (int64_t)2 * WEIGHTS, AT_USE_WEIGHTS, &the_log);
    struct at_graph *g = at_graph_create(&the_log);
    const struct at_st_tensor *w0 = tensor("adamw", "w0");
    float *x = w0 ? values(w0) : NULL, y[2 * WEIGHTS];
    if (!AT_CHECK(w && m && g && x && at_store_write(w, 0, x, WEIGHTS)))
        goto done;
    struct at_node *weights = at_graph_leaf(g, "w", AT_SHAPE(WEIGHTS), w, NULL, 0);
    struct at_node *moments = at_graph_leaf(g, "moments", AT_SHAPE(2, WEIGHTS), m, NULL, 0);
    struct at_node *grad = at_graph_input(g, "grad", AT_SHAPE(WEIGHTS), AT_F32);
    struct at_node *scalars = at_graph_input(g, "scalars", AT_SHAPE(8), AT_F32);
    at_adamw(g, weights, at_adamw_moments(g, moments, grad, scalars), scalars);
    struct at_exec *exec = at_exec_create(dev, g);
    AT_CHECK(exec);
    for (int step = 1; exec && step <= 3; step++) {
        char name[16];
        snprintf(name, sizeof(name), "w%d", step);
        if (AT_CHECK(adamw_step(exec, grad, scalars, step) && at_store_read(w, 0, y, WEIGHTS)))
            near(name, y, tensor("adamw", name), 1e-6);
    }
    if (AT_CHECK(at_store_read(m, 0, y, (int64_t)2 * WEIGHTS)))
        near("moments", y, tensor("adamw", "moments"), 1e-6);
    at_exec_destroy(&exec);
done:
    at_free(x);
    at_graph_destroy(&g);
    at_store_destroy(&w);
    at_store_destroy(&m);
}

int main(void)
{
    const char *data = getenv("AT_TEST_DATA");
    char path[1024];
    snprintf(path, sizeof(path), "%s/ops.safetensors", data ? data : "tests/golden/data");
    the_log.level = AT_LEVEL_WARN;
    golden = at_safetensors_open(&the_log, path);
    dev = at_cpu_open(&(struct at_cpu_params){.threads = 2}, &the_log);
    if (!golden || !dev)
        return 1;
    AT_RUN(ops_agree_with_pytorch);
    AT_RUN(adamw_takes_the_steps_of_pytorch);
    at_device_close(&dev);
    at_safetensors_destroy(&golden);
    return at_test_end();
}
