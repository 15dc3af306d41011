// SPDX-License-Identifier: Apache-2.0
#include "pipelines/model/denoiser.h"

#include "core/base/alloc.h"
#include "pipelines/model/condition.h"
#include "pipelines/model/spread.h"
#include "pipelines/model/text.h"

struct at_denoiser {
    struct at_spread *spread;
    int batch;
};

struct request {
    const struct at_model *m;
    const struct at_denoiser_params *p;
};

static bool build(const void *priv, struct at_graph *g, int worker, int batch, struct at_ports *ports)
{
    (void)worker;
    const struct request *r = priv;
    const struct at_unet_config *c = &r->m->unet;
    struct at_builder b = {
        .g = g, .params = r->m->unet_params, .adapters = r->p->adapters, .adapter_count = r->p->adapter_count};
    int64_t floats = (int64_t)at_condition_floats(c, at_text_tokens(r->m));
    ports->in[0] = at_graph_input(g, "x", AT_SHAPE(batch, r->p->height, r->p->width, c->in_channels), AT_F32);
    ports->in[1] = at_graph_input(g, "t", AT_SHAPE(batch), AT_F32);
    ports->in[2] = at_graph_input(g, "rows", AT_SHAPE(batch, floats), AT_F32);
    ports->out[0] = at_condition_unet(&b, c, ports->in[0], ports->in[1], ports->in[2]);
    return at_graph_ok(g);
}

struct at_denoiser *at_denoiser_create(struct at_model *m, const struct at_denoiser_params *params)
{
    struct at_denoiser *d = at_calloc(1, sizeof(*d));
    if (!d) {
        at_fail_memory(m->log, sizeof(*d));
        return NULL;
    }
    struct request r = {m, params};
    int at_once = params->at_once ? params->at_once : params->batch;
    struct at_spread_params p = {.dev = m->dev, .items = at_once, .max_batch = at_once, .build = build, .priv = &r};
    d->batch = params->batch;
    if (!at_model_wake(m, AT_PART_UNET) || !(d->spread = at_spread_create(&p, m->log)))
        at_denoiser_destroy(&d);
    return d;
}

void at_denoiser_destroy(struct at_denoiser **d)
{
    if (!*d)
        return;
    at_spread_destroy(&(*d)->spread);
    at_free(*d);
    *d = NULL;
}

double at_denoiser_flops(const struct at_denoiser *d)
{
    return at_spread_flops(d->spread);
}

bool at_denoiser_run(struct at_denoiser *d, const float *x, const float *t, const float *rows, float *y)
{
    return at_spread_run(d->spread, d->batch, (const void *[]){x, t, rows}, (void *[]){y});
}
