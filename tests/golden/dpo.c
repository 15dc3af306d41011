// SPDX-License-Identifier: Apache-2.0
// Diffusion-DPO on a UNet: loss and gradients of all weights against another model; the same for LoRA against the model
// without it, then ten AdamW steps with clipping.
#include "core/models/unet.h"
#include "core/optim/optimizer.h"
#include "pipelines/objectives/objective.h"
#include "tests/golden/case.h"
#include "tests/harness.h"

#define PAIRS 3

// What one step of training reads: winners, then losers; noise, timestep and prompt are shared by a pair.
struct data {
    struct at_tensor noisy, target, context;
    float t[2 * PAIRS];
};

static struct at_tensor twice(struct at_case *c, const char *name)
{
    struct at_tensor one = at_case_tensor(c, name), two = one;
    int64_t n = at_shape_count(one.shape);
    two.shape.dim[0] *= 2;
    two.values = at_case_floats(c, 2 * n);
    memcpy(two.values, one.values, (size_t)n * sizeof(float));
    memcpy(two.values + n, one.values, (size_t)n * sizeof(float));
    return two;
}

static struct data read_data(struct at_case *c)
{
    struct data d = {at_case_tensor(c, "noisy"), twice(c, "noise"), twice(c, "ehs"), {0}};
    int n;
    const int32_t *t = at_case_ints(c, "t", &n);
    at_case_must(c, n == PAIRS, "another number of pairs");
    for (int i = 0; i < 2 * PAIRS; i++)
        d.t[i] = (float)t[i % PAIRS];
    return d;
}

// A UNet that measures its squared errors; with a second phase if it trains.
struct network {
    struct at_graph *g;
    struct at_unet_inputs in;
    struct at_node *y, *target, *m, *dm;
    struct at_exec *exec;
};

static void build(struct at_case *c, struct network *n, struct at_builder b, const struct at_unet_config *config,
                  const struct data *d)
{
    *n = (struct network){.g = at_graph_create(&c->log)};
    at_case_must(c, n->g != NULL, "no memory");
    b.g = n->g;
    n->in.x = at_graph_input(n->g, "x", d->noisy.shape, AT_F32);
    n->in.t = at_graph_input(n->g, "t", AT_SHAPE(2 * PAIRS), AT_F32);
    n->in.context = at_graph_input(n->g, "context", d->context.shape, AT_F32);
    n->target = at_graph_input(n->g, "target", d->target.shape, AT_F32);
    n->y = at_graph_output(n->g, at_unet(&b, config, &n->in), "y");
    n->m = at_graph_output(n->g, at_sq_err(n->g, n->y, n->target, NULL), "m");
    at_case_must(c, at_graph_ok(n->g), "the graph is not sound");
}

// Declares the weights of a network by building it once.
static void declare(struct at_case *c, struct at_builder b, const struct at_unet_config *config, const struct data *d)
{
    struct network n;
    build(c, &n, b, config, d);
    at_graph_destroy(&n.g);
}

static void open_network(struct at_case *c, struct network *n, struct at_builder b, const struct at_unet_config *config,
                         const struct data *d, bool train)
{
    build(c, n, b, config, d);
    if (train) {
        at_graph_next_phase(n->g);
        n->dm = at_graph_input(n->g, "dm", AT_SHAPE(2 * PAIRS), AT_F32);
        struct at_seed seed = {n->m, n->dm};
        at_case_must(c, at_graph_backward(n->g, &(struct at_gradient_params){.seeds = &seed, .seed_count = 1}),
                     "no gradient");
    }
    n->exec = at_case_exec(c, n->g);
}

static void close_network(struct network *n)
{
    at_exec_destroy(&n->exec);
    at_graph_destroy(&n->g);
}

static void forward(struct at_case *c, struct network *n, const struct data *d, double m[2 * PAIRS])
{
    float values[2 * PAIRS];
    struct at_exec *e = n->exec;
    bool ok = at_exec_write(e, n->in.x, d->noisy.values) && at_exec_write(e, n->in.t, d->t) &&
              at_exec_write(e, n->in.context, d->context.values) && at_exec_write(e, n->target, d->target.values) &&
              at_exec_run(e, 0) && at_exec_read(e, n->m, values);
    at_case_must(c, ok, "the device failed");
    for (int i = 0; i < 2 * PAIRS; i++)
        m[i] = (double)values[i];
}

static struct at_objective_result backward(struct at_case *c, struct network *n, const double *m, const double *r)
{
    struct at_objective_result result;
    double dm[2 * PAIRS];
    float seed[2 * PAIRS];
    struct at_objective_batch batch = {.pairs = PAIRS, .policy = m, .reference = r};
    struct at_objective_params params = {.method = AT_OBJECTIVE_DPO, .beta = 2000};
    at_case_must(c, at_objective_evaluate(&params, &batch, dm, &result, NULL, &c->log), "no loss");
    for (int i = 0; i < 2 * PAIRS; i++)
        seed[i] = (float)dm[i];
    at_case_must(c, at_exec_write(n->exec, n->dm, seed) && at_exec_run(n->exec, 1), "the device failed");
    return result;
}

// Outputs, errors and loss of the first step.
static void compare(struct at_case *c, struct network *policy, struct network *reference, const double *m,
                    const double *r, const struct at_objective_result *result)
{
    float *y = at_case_floats(c, at_shape_count(policy->y->shape));
    at_case_must(c, at_exec_read(policy->exec, policy->y, y), "no output");
    AT_CHECK(at_case_close_to(c, "y", y, c->tolerance));
    at_case_must(c, at_exec_read(reference->exec, reference->y, y), "no output");
    AT_CHECK(at_case_close_to(c, "y_ref", y, c->tolerance));
    double z[PAIRS];
    for (int i = 0; i < PAIRS; i++)
        z[i] = -1000 * ((m[i] - m[i + PAIRS]) - (r[i] - r[i + PAIRS]));
    AT_CHECK(at_case_close_to_doubles(c, "m", m, c->tolerance));
    AT_CHECK(at_case_close_to_doubles(c, "r", r, c->tolerance));
    AT_CHECK(at_case_close_to_doubles(c, "z", z, c->loose));
    AT_CHECK(at_case_close_to_doubles(c, "loss", &result->loss, c->loose));
    AT_CHECK(at_case_close_to_doubles(c, "accuracy", &result->accuracy, 0));
}

static struct at_params *new_params(struct at_case *c)
{
    struct at_params *params = at_params_create(&c->log);
    at_case_must(c, params != NULL, "no memory");
    return params;
}

static void all_weights(struct at_case *c)
{
    struct at_unet_config config;
    at_case_must(c, at_unet_config_parse(at_case_config(c, NULL, "unet"), &config), "config");
    struct data d = read_data(c);
    struct at_params *params[2] = {new_params(c), new_params(c)};
    struct network nets[2]; // policy, reference
    double m[2][2 * PAIRS];
    for (int i = 0; i < 2; i++) {
        struct at_builder b = {.params = params[i]};
        declare(c, b, &config, &d);
        at_case_load(c, params[i],
                     &(struct at_case_weights){
                         .folder = i ? "reference" : "unet", .base = "diffusion_pytorch_model", .trainable = i == 0});
        open_network(c, &nets[i], b, &config, &d, i == 0);
        forward(c, &nets[i], &d, m[i]);
    }
    struct at_objective_result result = backward(c, &nets[0], m[0], m[1]);
    compare(c, &nets[0], &nets[1], m[0], m[1], &result);
    AT_CHECK(at_case_gradients_close(c, params[0], "grad.", c->loose));
    for (int i = 0; i < 2; i++) {
        close_network(&nets[i]);
        at_params_destroy(&params[i]);
    }
}

// --- LoRA -----------------------------------------------------------------------------------------------------------

static void ten_steps(struct at_case *c, struct network *policy, struct at_params *adapter, const struct data *d,
                      const double *r, struct at_objective_result result)
{
    struct at_optimizer_params p = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 1e-2, .clip = 1};
    struct at_optimizer *o = at_optimizer_create(&adapter, 1, &p, &c->log);
    at_case_must(c, o != NULL, "no optimiser");
    double losses[10], norms[10], m[2 * PAIRS];
    for (int i = 0; i < 10; i++) {
        if (i > 0) {
            forward(c, policy, d, m);
            result = backward(c, policy, m, r);
        }
        losses[i] = result.loss;
        at_case_must(c, at_optimizer_step(o, i + 1, 1e-3, 1, &norms[i]), "the step failed");
    }
    AT_CHECK(at_case_close_to_doubles(c, "losses", losses, c->loose));
    AT_CHECK(at_case_close_to_doubles(c, "grad_norms", norms, c->loose));
    AT_CHECK(at_case_params_close(c, adapter, "after.unet.", c->loose));
    at_optimizer_destroy(&o);
}

static void lora(struct at_case *c, const char *base, const char *const *targets)
{
    struct at_unet_config config;
    at_case_must(c, at_unet_config_parse(at_case_config(c, base, "unet"), &config), "config");
    struct data d = read_data(c);
    struct at_params *params = new_params(c), *trained = new_params(c);
    struct at_layers *layers = at_layers_create(&c->log);
    at_case_must(c, layers && at_layers_add_unet(layers, &config), "layers");
    struct at_adapter adapter = {.params = trained, .strength = 1};
    for (int i = 0; i < layers->count; i++)
        if (at_adapter_targeted(layers->list[i].name, targets))
            at_case_must(c, at_adapter_add(&adapter, layers->list[i].name, 4, 8), "adapter");
    at_layers_destroy(&layers);
    struct at_builder plain = {.params = params};
    struct at_builder adapted = {.params = params, .adapters = &adapter, .adapter_count = 1};
    declare(c, adapted, &config, &d);
    at_case_load(c, params, &(struct at_case_weights){.of = base, .folder = "unet", .base = "diffusion_pytorch_model"});
    at_case_load(c, trained,
                 &(struct at_case_weights){.base = "pytorch_lora_weights", .prefix = "unet.", .trainable = true});
    struct network policy, reference;
    double m[2 * PAIRS], r[2 * PAIRS];
    open_network(c, &reference, plain, &config, &d, false);
    forward(c, &reference, &d, r);
    open_network(c, &policy, adapted, &config, &d, true);
    forward(c, &policy, &d, m);
    struct at_objective_result result = backward(c, &policy, m, r);
    compare(c, &policy, &reference, m, r, &result);
    AT_CHECK(at_case_gradients_close(c, trained, "grad.unet.", c->loose));
    ten_steps(c, &policy, trained, &d, r, result);
    close_network(&policy);
    close_network(&reference);
    at_params_destroy(&params);
    at_params_destroy(&trained);
    at_adapter_finish(&adapter);
}

int main(int argc, char **argv)
{
    static const char *const attention[] = {"to_q", "to_k", "to_v", "to_out.0", NULL};
    static const char *const convolutions[] = {"conv_in", "conv1", "conv_shortcut", "downsamplers.0.conv", "proj_in",
                                               "time_emb_proj", NULL};
    const char *const names[] = {"dpo_sd1", "dpo_micro", "lora_sd1", "lora_micro", "lora_sd1_conv"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct at_case c;
        at_case_open(&c, argc, argv, names[i]);
        at_test_name = names[i];
        if (i < 2)
            all_weights(&c);
        else
            lora(&c, names[i % 2], i == 4 ? convolutions : attention);
        at_case_finish(&c);
    }
    return at_test_end();
}
