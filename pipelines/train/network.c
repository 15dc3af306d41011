// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/network.h"

#include "core/ops/build.h"

bool at_network_build(const void *priv, struct at_graph *g, int worker, int batch, struct at_ports *ports)
{
    const struct at_network *n = priv;
    struct at_node **in = ports->in;
    struct at_builder unet = {.g = g, .params = n->m->unet_params, .replica = worker, .adapters = n->adapter,
                              .adapter_count = n->adapter ? 1 : 0};
    struct at_shape latent = AT_SHAPE(batch, n->side, n->side, n->m->unet.in_channels);
    in[0] = at_graph_input(g, "x", latent, AT_F32);
    in[1] = at_graph_input(g, "t", AT_SHAPE(batch), AT_F32);
    in[2] = at_graph_input(g, "target", latent, AT_F32);
    int told = at_captions_inputs(n->captions, g, batch, in + 3);
    if (n->gate)
        unet.gate = in[3 + told] = at_graph_input(g, "gate", AT_SHAPE(batch), AT_F32);
    ports->out[0] = at_sq_err(g, at_captions_unet(n->captions, &unet, in[0], in[1], in + 3), in[2], NULL);
    return at_graph_ok(g);
}
