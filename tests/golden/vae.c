// SPDX-License-Identifier: Apache-2.0
// AutoencoderKL: moments, posterior sample, decoded image, gradients of the latent and of the decoder's weights.
#include "core/models/vae.h"

#include "tests/golden/case.h"
#include "tests/harness.h"

struct network {
    struct at_graph *g;
    struct at_node *x, *noise, *moments, *sample, *z, *y, *w, *dz;
};

static void build(struct at_case *c, struct network *n, struct at_params *params, const struct at_vae_config *config)
{
    n->g = at_graph_create(&c->log);
    at_case_must(c, n->g != NULL, "no memory");
    struct at_builder b = {.g = n->g, .params = params};
    n->x = at_graph_input(n->g, "x", at_case_tensor(c, "x").shape, AT_F32);
    n->noise = at_graph_input(n->g, "noise", at_case_tensor(c, "noise").shape, AT_F32);
    n->z = at_graph_input(n->g, "z", at_case_tensor(c, "z").shape, AT_F32);
    n->moments = at_graph_output(n->g, at_vae_encode(&b, config, n->x), "moments");
    n->sample = at_graph_output(n->g, at_gaussian_sample(n->g, n->moments, n->noise), "sample");
    n->y = at_graph_output(n->g, at_vae_decode(&b, config, n->z), "y");
}

static void add_gradient(struct at_case *c, struct network *n)
{
    at_graph_next_phase(n->g);
    n->w = at_graph_input(n->g, "w", n->y->shape, AT_F32);
    struct at_seed seed = {n->y, n->w};
    struct at_gradient_params p = {.seeds = &seed, .seed_count = 1, .wrt = &n->z, .dx = &n->dz, .wrt_count = 1};
    at_case_must(c, at_graph_backward(n->g, &p), "no gradient");
    at_graph_output(n->g, n->dz, "dz");
}

// Mean and logarithm of the variance lie side by side in the channels of the moments.
static void compare_moments(struct at_case *c, const float *moments, struct at_shape shape)
{
    int64_t rows = at_shape_rows(shape), half = at_shape_last(shape) / 2;
    float *mean = at_case_floats(c, rows * half), *logvar = at_case_floats(c, rows * half);
    for (int64_t r = 0; r < rows; r++) {
        memcpy(mean + r * half, moments + 2 * r * half, (size_t)half * sizeof(*mean));
        memcpy(logvar + r * half, moments + (2 * r + 1) * half, (size_t)half * sizeof(*mean));
    }
    AT_CHECK(at_case_close_to(c, "mean", mean, c->tolerance));
    AT_CHECK(at_case_close_to(c, "logvar", logvar, c->tolerance));
}

static void compare(struct at_case *c, struct at_exec *e, const struct network *n)
{
    float *moments = at_case_floats(c, at_shape_count(n->moments->shape));
    float *sample = at_case_floats(c, at_shape_count(n->sample->shape));
    float *y = at_case_floats(c, at_shape_count(n->y->shape)), *dz = at_case_floats(c, at_shape_count(n->z->shape));
    bool ok = at_exec_read(e, n->moments, moments) && at_exec_read(e, n->sample, sample) && at_exec_read(e, n->y, y) &&
              at_exec_read(e, n->dz, dz);
    at_case_must(c, ok, "no results");
    compare_moments(c, moments, n->moments->shape);
    AT_CHECK(at_case_close_to(c, "sample", sample, c->tolerance));
    AT_CHECK(at_case_close_to(c, "y", y, c->tolerance));
    AT_CHECK(at_case_close_to(c, "dz", dz, c->tolerance));
}

static void run_case(struct at_case *c)
{
    struct at_vae_config config;
    at_case_must(c, at_vae_config_parse(at_case_config(c, NULL, "vae"), &config), "config");
    config.exact = false; // force_upcast concerns SDXL's alone
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
              at_exec_write(e, n.noise, at_case_tensor(c, "noise").values) &&
              at_exec_write(e, n.z, at_case_tensor(c, "z").values) && at_exec_run(e, 0) &&
              at_exec_write(e, n.w, at_case_tensor(c, "w").values) && at_exec_run(e, 1);
    at_case_must(c, ok, "the device failed");
    compare(c, e, &n);
    AT_CHECK(at_case_gradients_close(c, params, "grad.", c->tolerance));
    at_exec_destroy(&e);
    at_graph_destroy(&n.g);
    at_params_destroy(&params);
}

int main(int argc, char **argv)
{
    const char *const names[] = {"vae_sd", "vae_plain"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct at_case c;
        at_case_open(&c, argc, argv, names[i]);
        at_test_name = names[i];
        run_case(&c);
        at_case_finish(&c);
    }
    return at_test_end();
}
