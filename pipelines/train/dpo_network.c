// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/dpo_network.h"

#include "core/base/alloc.h"
#include "pipelines/train/network.h"

struct at_dpo_network {
    int items;
    struct at_captions *captions;
    struct at_spread *policy, *reference; // reference NULL: the policy with the adapter off
    float *on, *off;                      // gates of a batch: ones, zeros
};

static bool open_network(struct at_dpo_network *n, const struct at_dpo_network_params *p, struct at_log *log)
{
    struct at_network policy = {p->m, p->captions, p->adapter, p->side, p->adapter != NULL};
    struct at_network reference = {p->frozen, p->captions, NULL, p->side, false};
    struct at_spread_params trained = {.dev = p->dev, .items = p->items, .build = at_network_build, .priv = &policy,
                                       .gradient = true, .at_once = p->at_once, .recompute = p->recompute};
    struct at_spread_params frozen = {.dev = p->dev, .items = p->at_once ? p->at_once : p->items,
                                      .build = at_network_build, .priv = &reference};
    n->items = p->items;
    n->captions = p->captions;
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
    const void *of[AT_PORTS];
};

static struct inputs gather(const struct at_dpo_network *n, const struct at_dpo_batch *b, const float *gate)
{
    struct inputs in = {{b->x, b->t, b->target}};
    in.of[3 + at_captions_ports(n->captions, in.of + 3)] = gate;
    return in;
}

bool at_dpo_network_run(struct at_dpo_network *n, const struct at_dpo_batch *batch, float *policy, float *reference)
{
    struct inputs off = gather(n, batch, n->off), on = gather(n, batch, n->on);
    // The policy last: its values stay for the backward.
    return at_spread_run(n->reference ? n->reference : n->policy, n->items, off.of, (void *[]){reference}) &&
           at_spread_run(n->policy, n->items, on.of, (void *[]){policy});
}

bool at_dpo_network_backward(struct at_dpo_network *n, const struct at_dpo_batch *batch, const float *seeds)
{
    struct inputs on = gather(n, batch, n->on);
    return at_spread_backward(n->policy, on.of, (const void *[]){seeds});
}

double at_dpo_network_flops(const struct at_dpo_network *n)
{
    return n->items * (at_spread_flops(n->reference ? n->reference : n->policy) + at_spread_flops(n->policy) +
                       at_spread_backward_flops(n->policy));
}
