// SPDX-License-Identifier: Apache-2.0
// Ten DDIM steps with classifier-free guidance on the UNet of unet_sd1: every latent on the way.
#include "core/diffusion/ddim.h"
#include "core/models/unet.h"
#include "tests/golden/case.h"
#include "tests/harness.h"

#define STEPS 10
#define GUIDANCE 5.0f

struct network {
    struct at_graph *g;
    struct at_unet_inputs in;
    struct at_node *y;
    struct at_exec *exec;
};

// Without prompt first, then with: as diffusers' pipelines batch them.
static struct at_tensor join(struct at_case *c, struct at_tensor a, struct at_tensor b)
{
    struct at_tensor out = a;
    int64_t n = at_shape_count(a.shape);
    out.shape.dim[0] *= 2;
    out.values = at_case_floats(c, 2 * n);
    memcpy(out.values, a.values, (size_t)n * sizeof(float));
    memcpy(out.values + n, b.values, (size_t)n * sizeof(float));
    return out;
}

static void build(struct at_case *c, struct network *n, struct at_params *params, const struct at_unet_config *config,
                  struct at_shape x, struct at_shape context)
{
    *n = (struct network){.g = at_graph_create(&c->log)};
    at_case_must(c, n->g != NULL, "no memory");
    n->in.x = at_graph_input(n->g, "x", x, AT_F32);
    n->in.t = at_graph_input(n->g, "t", AT_SHAPE(x.dim[0]), AT_F32);
    n->in.context = at_graph_input(n->g, "context", context, AT_F32);
    n->y = at_graph_output(n->g, at_unet(&(struct at_builder){.g = n->g, .params = params}, config, &n->in), "y");
}

// The guided prediction for latents x (count values) at timestep t, into y (2 count values, of which count are used).
static void predict(struct at_case *c, const struct network *n, const float *x, const float *context, int t, float *y,
                    int64_t count)
{
    float times[8];
    at_case_must(c, n->in.t->shape.dim[0] <= 8, "too many samples");
    for (int64_t i = 0; i < n->in.t->shape.dim[0]; i++)
        times[i] = (float)t;
    float *both = at_case_floats(c, 2 * count);
    memcpy(both, x, (size_t)count * sizeof(float));
    memcpy(both + count, x, (size_t)count * sizeof(float));
    bool ok = at_exec_write(n->exec, n->in.x, both) && at_exec_write(n->exec, n->in.t, times) &&
              at_exec_write(n->exec, n->in.context, context) && at_exec_run(n->exec, 0) &&
              at_exec_read(n->exec, n->y, y);
    at_case_must(c, ok, "the device failed");
    for (int64_t i = 0; i < count; i++)
        y[i] += GUIDANCE * (y[count + i] - y[i]);
}

// The standard normals of step i, in attune's layout.
static const float *step_noise(struct at_case *c, int i)
{
    return at_case_tensor(c, at_arena_strf(c->arena, "noise.%d", i)).values;
}

static void sample(struct at_case *c, const struct network *n, const struct at_schedule *schedule,
                   const struct at_tensor *x, const float *context, double eta)
{
    int64_t count = at_shape_count(x->shape);
    float *y = at_case_floats(c, 2 * count);
    int t[STEPS], expected_count;
    const int32_t *expected = at_case_ints(c, "t", &expected_count);
    AT_CHECK_INT(at_schedule_timesteps(schedule, STEPS, t, &c->log), expected_count);
    for (int i = 0; i < STEPS; i++) {
        AT_CHECK_INT(t[i], expected[i]);
        struct at_ddim step;
        struct at_ddim_params p = {.t = t[i], .steps = STEPS, .eta = eta};
        at_case_must(c, at_ddim_step(schedule, &p, &step, &c->log), "no step");
        predict(c, n, x->values, context, t[i], y, count);
        at_ddim_apply(&step, x->values, y, eta > 0 ? step_noise(c, i) : NULL, NULL, (size_t)count);
        AT_CHECK(at_case_close_to(c, at_arena_strf(c->arena, "latents.%d", i), x->values, c->tolerance));
    }
}

static void run_case(struct at_case *c, double eta)
{
    struct at_unet_config config;
    at_case_must(c, at_unet_config_parse(at_case_config(c, "unet_sd1", "unet"), &config), "config");
    struct at_schedule *schedule = at_schedule_load(at_case_path(c, NULL, "scheduler/scheduler_config.json"), &c->log);
    at_case_must(c, schedule != NULL, "schedule");
    struct at_tensor x = at_case_tensor(c, "x");
    struct at_tensor context = join(c, at_case_tensor(c, "uncond"), at_case_tensor(c, "cond"));
    struct at_shape both = x.shape;
    both.dim[0] *= 2;
    struct at_params *params = at_params_create(&c->log);
    struct network n;
    build(c, &n, params, &config, both, context.shape);
    at_graph_destroy(&n.g);
    at_case_load(c, params,
                 &(struct at_case_weights){.of = "unet_sd1", .folder = "unet", .base = "diffusion_pytorch_model"});
    build(c, &n, params, &config, both, context.shape);
    n.exec = at_case_exec(c, n.g);
    sample(c, &n, schedule, &x, context.values, eta);
    at_exec_destroy(&n.exec);
    at_graph_destroy(&n.g);
    at_params_destroy(&params);
    at_schedule_destroy(&schedule);
}

int main(int argc, char **argv)
{
    const struct {
        const char *name;
        double eta;
    } cases[] = {{"ddim_epsilon", 0}, {"ddim_v", 0}, {"ddim_eta", 0.5}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct at_case c;
        at_case_open(&c, argc, argv, cases[i].name);
        at_test_name = cases[i].name;
        run_case(&c, cases[i].eta);
        at_case_finish(&c);
    }
    return at_test_end();
}
