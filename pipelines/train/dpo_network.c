// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/dpo_network.h"

#include "core/base/alloc.h"
#include "core/ops/build.h"
#include "pipelines/model/condition.h"

struct at_dpo_network {
    int items;
    struct at_spread *policy, *reference; // reference NULL: the policy with the adapter off
    float *on, *off;                      // gates of a batch: ones, zeros
};

// What a graph is made of: the policy, or the reference without adapter.
struct side {
    const struct at_dpo_network_params *p;
    const struct at_model *m;
};

static bool build(const void *priv, struct at_graph *g, int worker, int batch, struct at_ports *ports)
{
    const struct side *s = priv;
    const struct at_unet_config *c = &s->m->unet;
    struct at_shape latent = AT_SHAPE(batch, s->p->side, s->p->side, c->in_channels);
    ports->in[0] = at_graph_input(g, "x", latent, AT_F32);
    ports->in[1] = at_graph_input(g, "t", AT_SHAPE(batch), AT_F32);
    ports->in[2] =
        at_graph_input(g, "rows", AT_SHAPE(batch, (int64_t)at_condition_floats(c, s->p->tokens)), AT_F32);
    ports->in[3] = at_graph_input(g, "target", latent, AT_F32);
    if (s->p->adapter)
        ports->in[4] = at_graph_input(g, "gate", AT_SHAPE(batch), AT_F32);
    struct at_builder b = {.g = g, .params = s->m->unet_params, .replica = worker, .adapters = s->p->adapter,
                           .adapter_count = s->p->adapter ? 1 : 0, .gate = ports->in[4]};
    struct at_node *y = at_condition_unet(&b, c, ports->in[0], ports->in[1], ports->in[2]);
    ports->out[0] = at_sq_err(g, y, ports->in[3], NULL);
    return at_graph_ok(g);
}

static bool open_network(struct at_dpo_network *n, const struct at_dpo_network_params *p, struct at_log *log)
{
    struct side policy = {p, p->m}, reference = {p, p->frozen};
    struct at_spread_params trained = {.dev = p->dev, .items = p->items, .build = build, .priv = &policy,
                                       .gradient = true, .at_once = p->at_once, .recompute = p->recompute};
    struct at_spread_params frozen = {.dev = p->dev, .items = p->at_once ? p->at_once : p->items,
                                      .build = build, .priv = &reference};
    n->items = p->items;
    if (!(n->on = at_calloc((size_t)p->items, sizeof(float))) || !(n->off = at_calloc((size_t)p->items, sizeof(float))))
        return at_fail_memory(log, (size_t)p->items * sizeof(float));
    for (int i = 0; i < p->items; i++)
        n->on[i] = 1;
    return (n->policy = at_spread_create(&trained, log)) &&
           (p->adapter || (n->reference = at_spread_create(&frozen, log)));
}

struct at_dpo_network *at_dpo_network_create(const struct at_dpo_network_params *params, struct at_log *log)
{
    struct at_dpo_network *n = at_calloc(1, sizeof(*n));
    if (!n)
        at_fail_memory(log, sizeof(*n));
    else if (!open_network(n, params, log))
        at_dpo_network_destroy(&n);
    return n;
}

void at_dpo_network_destroy(struct at_dpo_network **network)
{
    struct at_dpo_network *n = *network;
    if (!n)
        return;
    at_spread_destroy(&n->policy);
    at_spread_destroy(&n->reference);
    at_free(n->on);
    at_free(n->off);
    at_free(n);
    *network = NULL;
}

// The ports of a batch.
struct inputs {
    const void *of[5];
};

static struct inputs gather(const struct at_dpo_batch *b, const float *gate)
{
    return (struct inputs){{b->x, b->t, b->rows, b->target, gate}};
}

bool at_dpo_network_run(struct at_dpo_network *n, const struct at_dpo_batch *batch, float *policy, float *reference)
{
    struct inputs off = gather(batch, n->off), on = gather(batch, n->on);
    // The policy last: its values stay for the backward.
    return at_spread_run(n->reference ? n->reference : n->policy, n->items, off.of, (void *[]){reference}) &&
           at_spread_run(n->policy, n->items, on.of, (void *[]){policy});
}

bool at_dpo_network_backward(struct at_dpo_network *n, const struct at_dpo_batch *batch, const float *seeds)
{
    struct inputs on = gather(batch, n->on);
    return at_spread_backward(n->policy, on.of, (const void *[]){seeds});
}

double at_dpo_network_flops(const struct at_dpo_network *n)
{
    return n->items * (at_spread_flops(n->reference ? n->reference : n->policy) + at_spread_flops(n->policy) +
                       at_spread_backward_flops(n->policy));
}
