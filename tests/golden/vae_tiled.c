// SPDX-License-Identifier: Apache-2.0
// AutoencoderKL in tiles, against diffusers' own tiles; and, printed, how far tiles are from the whole picture.
#include "core/models/vae.h"

#include "pipelines/model/model.h"
#include "pipelines/model/stages.h"
#include "tests/golden/case.h"
#include "tests/harness.h"

static void declare(struct at_case *c, struct at_params *params, const struct at_vae_config *config)
{
    struct at_graph *g = at_graph_create(&c->log);
    at_case_must(c, g != NULL, "no memory");
    struct at_builder b = {.g = g, .params = params};
    int factor = at_vae_factor(config);
    struct at_node *x = at_graph_input(g, "x", AT_SHAPE(1, factor, factor, config->in_channels), AT_F32);
    struct at_node *z = at_graph_input(g, "z", AT_SHAPE(1, 1, 1, config->latent_channels), AT_F32);
    at_case_must(c, at_vae_encode(&b, config, x) && at_vae_decode(&b, config, z), "the model does not build");
    at_graph_destroy(&g);
}

static const char *name(struct at_case *c, int tile, int height, const char *what)
{
    return at_arena_strf(c->arena, "%d.%d.%s", tile, height, what);
}

static void compare(struct at_case *c, struct at_model *m, int tile, int height)
{
    struct at_tensor x = at_case_tensor(c, name(c, tile, height, "x")), z = at_case_tensor(c, name(c, tile, height, "z"));
    int w = (int)x.shape.dim[2], lh = (int)z.shape.dim[1], lw = (int)z.shape.dim[2], half = m->vae.latent_channels;
    int64_t pixels = (int64_t)lh * lw;
    float *moments = at_case_floats(c, pixels * 2 * half), *y = at_case_floats(c, at_shape_count(x.shape));
    float *mean = at_case_floats(c, pixels * half), *logvar = at_case_floats(c, pixels * half);
    m->vae_tile = tile;
    // at_model_decode takes scaled latents.
    for (int64_t i = 0; i < pixels * half; i++)
        z.values[i] *= m->vae.scaling_factor;
    at_case_must(c, at_model_encode(m, x.values, 1, height, w, moments) && at_model_decode(m, z.values, 1, lh, lw, y),
                 "the device failed");
    for (int64_t i = 0; i < pixels; i++) {
        memcpy(mean + i * half, moments + 2 * i * half, (size_t)half * sizeof(*mean));
        memcpy(logvar + i * half, moments + (2 * i + 1) * half, (size_t)half * sizeof(*mean));
    }
    AT_CHECK(at_case_close_to(c, name(c, tile, height, "mean"), mean, c->tolerance));
    AT_CHECK(at_case_close_to(c, name(c, tile, height, "logvar"), logvar, c->tolerance));
    AT_CHECK(at_case_close_to(c, name(c, tile, height, "y"), y, c->tolerance));
    m->vae_tile = 0;
    float *whole = at_case_floats(c, at_shape_count(x.shape));
    at_case_must(c, at_model_decode(m, z.values, 1, lh, lw, whole), "the device failed");
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < at_shape_count(x.shape); i++) {
        worst = fmax(worst, fabs((double)y[i] - (double)whole[i]));
        largest = fmax(largest, fabs((double)whole[i]));
    }
    printf("tiles of %d differ from the whole %dx%d by %.2g of %.3g\n", tile, w, height, worst, largest);
    AT_CHECK(worst > 1e-3 * largest); // or nothing was tiled
}

int main(int argc, char **argv)
{
    static const int cases[][2] = {{16, 40}, {16, 36}, {32, 44}};
    struct at_case c;
    at_case_open(&c, argc, argv, "vae_tiled");
    at_test_name = "vae_tiled";
    struct at_model m = {.log = &c.log, .dev = c.dev};
    at_case_must(&c, at_vae_config_parse(at_case_config(&c, "vae_sd", "vae"), &m.vae), "config");
    m.vae_params = at_params_create(&c.log);
    m.stages = at_model_stages_create(&c.log);
    declare(&c, m.vae_params, &m.vae);
    at_case_load(&c, m.vae_params,
                 &(struct at_case_weights){.of = "vae_sd", .folder = "vae", .base = "diffusion_pytorch_model"});
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        compare(&c, &m, cases[i][0], cases[i][1]);
    at_model_stages_destroy(&m.stages);
    at_params_destroy(&m.vae_params);
    at_case_finish(&c);
    return at_test_end();
}
