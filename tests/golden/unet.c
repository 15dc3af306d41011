// SPDX-License-Identifier: Apache-2.0
// UNet2DConditionModel: outputs and gradients with respect to the sample and the context.
#include "core/models/unet.h"

#include "tests/golden/case.h"
#include "tests/harness.h"

// The tensors of run `run` of a case; absent ones have no values.
struct inputs {
    struct at_tensor x, context, w, pooled, time_ids, guidance;
    float *t;
};

static struct at_tensor optional(struct at_case *c, const char *name)
{
    return at_case_has(c, name) ? at_case_tensor(c, name) : (struct at_tensor){0};
}

static const char *named(struct at_case *c, int run, const char *name)
{
    return at_arena_strf(c->arena, "%d.%s", run, name);
}

static struct inputs read_inputs(struct at_case *c, int run)
{
    struct inputs in = {at_case_tensor(c, named(c, run, "x")),
                        at_case_tensor(c, named(c, run, "ehs")),
                        at_case_tensor(c, named(c, run, "w")),
                        optional(c, named(c, run, "text_embeds")),
                        optional(c, named(c, run, "time_ids")),
                        optional(c, named(c, run, "timestep_cond")),
                        NULL};
    int n;
    const int32_t *t = at_case_ints(c, named(c, run, "t"), &n);
    in.t = at_case_floats(c, n);
    for (int i = 0; i < n; i++)
        in.t[i] = (float)t[i];
    return in;
}

static struct at_node *input(struct at_graph *g, const char *name, const struct at_tensor *t)
{
    return t->values ? at_graph_input(g, name, t->shape, AT_F32) : NULL;
}

struct network {
    struct at_graph *g;
    struct at_unet_inputs in;
    struct at_node *y, *w, *dx[2];
};

static void build(struct at_case *c, struct network *n, struct at_params *params, const struct at_unet_config *config,
                  const struct inputs *v)
{
    n->g = at_graph_create(&c->log);
    at_case_must(c, n->g != NULL, "no memory");
    struct at_builder b = {.g = n->g, .params = params};
    n->in = (struct at_unet_inputs){.x = input(n->g, "x", &v->x),
                                    .t = at_graph_input(n->g, "t", AT_SHAPE(v->x.shape.dim[0]), AT_F32),
                                    .context = input(n->g, "context", &v->context),
                                    .pooled = input(n->g, "pooled", &v->pooled),
                                    .time_ids = input(n->g, "time_ids", &v->time_ids),
                                    .guidance = input(n->g, "guidance", &v->guidance)};
    n->y = at_graph_output(n->g, at_unet(&b, config, &n->in), "y");
}

static void add_gradient(struct at_case *c, struct network *n, const struct inputs *v)
{
    at_graph_next_phase(n->g);
    n->w = input(n->g, "w", &v->w);
    struct at_seed seed = {n->y, n->w};
    struct at_node *wrt[] = {n->in.x, n->in.context};
    struct at_gradient_params p = {.seeds = &seed, .seed_count = 1, .wrt = wrt, .dx = n->dx, .wrt_count = 2};
    at_case_must(c, at_graph_ok(n->g) && at_graph_backward(n->g, &p), "no gradient");
    at_graph_output(n->g, n->dx[0], "dx");
    at_graph_output(n->g, n->dx[1], "dehs");
}

static bool write(struct at_exec *e, const struct at_node *node, const struct at_tensor *t)
{
    return !node || at_exec_write(e, node, t->values);
}

static void compare(struct at_case *c, int run, struct at_exec *e, const struct network *n)
{
    float *y = at_case_floats(c, at_shape_count(n->y->shape));
    float *dx = at_case_floats(c, at_shape_count(n->in.x->shape));
    float *dehs = at_case_floats(c, at_shape_count(n->in.context->shape));
    bool ok = at_exec_read(e, n->y, y) && at_exec_read(e, n->dx[0], dx) && at_exec_read(e, n->dx[1], dehs);
    at_case_must(c, ok, "no results");
    AT_CHECK(at_case_close_to(c, named(c, run, "y"), y, c->tolerance));
    AT_CHECK(at_case_close_to(c, named(c, run, "dx"), dx, c->tolerance));
    AT_CHECK(at_case_close_to(c, named(c, run, "dehs"), dehs, c->tolerance));
}

// The model of case `of` (NULL: this one) with weights of a type.
static void run_case(struct at_case *c, const char *of, enum at_weights weights)
{
    struct at_unet_config config;
    at_case_must(c, at_unet_config_parse(at_case_config(c, of, "unet"), &config), "config");
    struct at_params *params = at_params_create(&c->log);
    for (int run = 0; at_case_has(c, named(c, run, "x")); run++) {
        struct inputs v = read_inputs(c, run);
        struct network n = {0};
        if (run == 0) {
            build(c, &n, params, &config, &v);
            at_graph_destroy(&n.g);
            at_case_load(c, params, &(struct at_case_weights){.of = of, .folder = "unet", .weights = weights,
                                                              .base = "diffusion_pytorch_model"});
        }
        build(c, &n, params, &config, &v);
        add_gradient(c, &n, &v);
        struct at_exec *e = at_case_exec(c, n.g);
        bool ok = write(e, n.in.x, &v.x) && at_exec_write(e, n.in.t, v.t) && write(e, n.in.context, &v.context) &&
                  write(e, n.in.pooled, &v.pooled) && write(e, n.in.time_ids, &v.time_ids) &&
                  write(e, n.in.guidance, &v.guidance) && at_exec_run(e, 0) && write(e, n.w, &v.w) && at_exec_run(e, 1);
        at_case_must(c, ok, "the device failed");
        compare(c, run, e, &n);
        at_exec_destroy(&e);
        at_graph_destroy(&n.g);
    }
    at_params_destroy(&params);
}

int main(int argc, char **argv)
{
    const char *const names[] = {"unet_sd1", "unet_sd2", "unet_sdxl", "unet_micro", "unet_lcm", "bf16"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct at_case c;
        at_case_open(&c, argc, argv, names[i]);
        at_test_name = names[i];
        if (strcmp(names[i], "bf16") == 0)
            run_case(&c, "unet_sd1", AT_WEIGHTS_BF16);
        else
            run_case(&c, NULL, AT_WEIGHTS_STORED);
        if (i == 0)
            run_case(&c, NULL, AT_WEIGHTS_F32);
        at_case_finish(&c);
    }
    return at_test_end();
}
