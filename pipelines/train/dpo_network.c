// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/dpo_network.h"

#include "core/ops/build.h"
#include "pipelines/model/condition.h"

bool at_dpo_network_build(const void *priv, struct at_graph *g, int worker, int batch, struct at_ports *ports)
{
    const struct at_dpo_network *n = priv;
    const struct at_unet_config *c = &n->m->unet;
    struct at_builder b = {.g = g, .params = n->m->unet_params, .replica = worker, .adapters = n->adapter,
                           .adapter_count = n->adapter ? 1 : 0};
    struct at_shape latent = AT_SHAPE(batch, n->side, n->side, c->in_channels);
    ports->in[0] = at_graph_input(g, "x", latent, AT_F32);
    ports->in[1] = at_graph_input(g, "t", AT_SHAPE(batch), AT_F32);
    ports->in[2] = at_graph_input(g, "rows", AT_SHAPE(batch, (int64_t)at_condition_floats(c, n->tokens)), AT_F32);
    ports->in[3] = at_graph_input(g, "target", latent, AT_F32);
    struct at_node *y = at_condition_unet(&b, c, ports->in[0], ports->in[1], ports->in[2]);
    ports->out[0] = at_sq_err(g, y, ports->in[3], NULL);
    return at_graph_ok(g);
}
