// SPDX-License-Identifier: Apache-2.0
// AutoencoderTiny: latents, decoded image, gradients of the image, of the latents and of all weights.
#include "core/models/vae.h"

#include "tests/golden/case.h"
#include "tests/harness.h"

struct network {
    struct at_graph *g;
    struct at_node *x, *z, *latents, *y, *w, *u, *dx[2];
};

static void build(struct at_case *c, struct network *n, struct at_params *params, const struct at_vae_config *config)
{
    n->g = at_graph_create(&c->log);
    at_case_must(c, n->g != NULL, "no memory");
    struct at_builder b = {.g = n->g, .params = params};
    n->x = at_graph_input(n->g, "x", at_case_tensor(c, "x").shape, AT_F32);
    n->z = at_graph_input(n->g, "z", at_case_tensor(c, "z").shape, AT_F32);
    struct at_node *moments = at_vae_encode(&b, config, n->x);
    n->latents = at_graph_output(n->g, at_slice(n->g, moments, 0, config->latent_channels), "latents");
    n->y = at_graph_output(n->g, at_vae_decode(&b, config, n->z), "y");
}

static void add_gradient(struct at_case *c, struct network *n)
{
    at_graph_next_phase(n->g);
    n->w = at_graph_input(n->g, "w", n->y->shape, AT_F32);
    n->u = at_graph_input(n->g, "u", n->latents->shape, AT_F32);
    struct at_seed seeds[] = {{n->y, n->w}, {n->latents, n->u}};
    struct at_node *wrt[] = {n->x, n->z};
    struct at_gradient_params p = {.seeds = seeds, .seed_count = 2, .wrt = wrt, .dx = n->dx, .wrt_count = 2};
    at_case_must(c, at_graph_backward(n->g, &p), "no gradient");
    at_graph_output(n->g, n->dx[0], "dx");
    at_graph_output(n->g, n->dx[1], "dz");
}

static void compare(struct at_case *c, struct at_exec *e, struct at_node *n, const char *name)
{
    float *got = at_case_floats(c, at_shape_count(n->shape));
    at_case_must(c, at_exec_read(e, n, got), name);
    AT_CHECK(at_case_close_to(c, name, got, c->tolerance));
}

static void run_case(struct at_case *c)
{
    struct at_vae_config config;
    at_case_must(c, at_vae_config_parse(at_case_config(c, NULL, "vae"), &config), "config");
    struct at_params *params = at_params_create(&c->log);
    struct network n = {0};
    build(c, &n, params, &config);
    at_graph_destroy(&n.g);
    at_case_load(c, params,
                 &(struct at_case_weights){.folder = "vae", .base = "diffusion_pytorch_model", .trainable = true});
    build(c, &n, params, &config);
    add_gradient(c, &n);
    struct at_exec *e = at_case_exec(c, n.g);
    bool ok = at_exec_write(e, n.x, at_case_tensor(c, "x").values) &&
              at_exec_write(e, n.z, at_case_tensor(c, "z").values) && at_exec_run(e, 0) &&
              at_exec_write(e, n.w, at_case_tensor(c, "w").values) &&
              at_exec_write(e, n.u, at_case_tensor(c, "u").values) && at_exec_run(e, 1);
    at_case_must(c, ok, "the device failed");
    compare(c, e, n.latents, "latents");
    compare(c, e, n.y, "y");
    compare(c, e, n.dx[0], "dx");
    compare(c, e, n.dx[1], "dz");
    AT_CHECK(at_case_gradients_close(c, params, "grad.", c->tolerance));
    at_exec_destroy(&e);
    at_graph_destroy(&n.g);
    at_params_destroy(&params);
}

int main(int argc, char **argv)
{
    const char *const names[] = {"vae_tiny", "vae_tiny_odd"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct at_case c;
        at_case_open(&c, argc, argv, names[i]);
        at_test_name = names[i];
        run_case(&c);
        at_case_finish(&c);
    }
    return at_test_end();
}
