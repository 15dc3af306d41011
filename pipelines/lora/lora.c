// SPDX-License-Identifier: Apache-2.0
#include "pipelines/lora/lora.h"

#include "core/base/alloc.h"
#include "pipelines/lora/lora_data.h"
#include "pipelines/lora/lora_write.h"
#include "pipelines/model/condition.h"

#include <stdio.h>
#include <string.h>

static const char *const usual_targets[] = {"to_q", "to_k", "to_v", "to_out.0", NULL};

static struct at_lora *create(struct at_log *log, float strength)
{
    struct at_lora *l = at_calloc(1, sizeof(*l));
    if (!l)
        at_fail_memory(log, sizeof(*l));
    for (int c = 0; l && c < AT_COMPONENTS; c++)
        l->part[c].strength = strength;
    return l;
}

void at_lora_destroy(struct at_lora **lora)
{
    struct at_lora *l = *lora;
    if (!l)
        return;
    for (int c = 0; c < AT_COMPONENTS; c++) {
        at_params_destroy(&l->part[c].params);
        at_adapter_finish(&l->part[c]);
    }
    at_free(l);
    *lora = NULL;
}

struct at_layers *at_lora_layers(const struct at_model *m)
{
    struct at_layers *l = at_layers_create(m->log);
    bool ok = l && (!m->unet_params || at_layers_add_unet(l, &m->unet));
    for (int i = 0; ok && i < m->texts; i++)
        ok = !m->text[i].params ||
             at_layers_add_text(l, (enum at_component)(AT_COMPONENT_TEXT + i), &m->text[i].config);
    if (!ok)
        at_layers_destroy(&l);
    return l;
}

int at_lora_parts(struct at_lora *const *loras, int count, enum at_component component, struct at_adapter *out)
{
    int n = 0;
    for (int i = 0; i < count; i++)
        if (loras[i]->part[component].params)
            out[n++] = loras[i]->part[component];
    return n;
}

// Declares the adapter's weights by building each component once with it.
static bool declare(struct at_model *m, struct at_lora *l)
{
    struct at_graph *g = at_graph_create(m->log);
    if (!g)
        return false;
    if (l->part[AT_COMPONENT_UNET].params) {
        struct at_builder b = {.g = g, .params = m->unet_params, .adapters = &l->part[AT_COMPONENT_UNET],
                               .adapter_count = 1};
        int side = 1 << (m->unet.blocks - 1);
        int64_t floats = (int64_t)at_condition_floats(&m->unet, 1);
        struct at_node *x = at_graph_input(g, "x", AT_SHAPE(1, side, side, m->unet.in_channels), AT_F32);
        struct at_node *t = at_graph_input(g, "t", AT_SHAPE(1), AT_F32);
        at_condition_unet(&b, &m->unet, x, t, at_graph_input(g, "rows", AT_SHAPE(1, floats), AT_F32));
    }
    for (int i = 0; i < m->texts; i++) {
        struct at_adapter *a = &l->part[AT_COMPONENT_TEXT + i];
        struct at_builder b = {.g = g, .params = m->text[i].params, .adapters = a, .adapter_count = 1};
        struct at_node *ids = a->params ? at_graph_input(g, "ids", AT_SHAPE(1, 1), AT_I32) : NULL;
        if (ids)
            at_clip_text(&b, &m->text[i].config, &(struct at_clip_inputs){.ids = ids}, NULL);
    }
    bool ok = at_graph_ok(g);
    at_graph_destroy(&g);
    return ok;
}

struct at_lora *at_lora_create(struct at_model *m, const struct at_lora_params *p)
{
    const char *const *targets = p->targets ? p->targets : usual_targets;
    struct at_lora *l = create(m->log, 1);
    struct at_layers *layers = l ? at_lora_layers(m) : NULL;
    struct at_adapter *a = l ? &l->part[AT_COMPONENT_UNET] : NULL;
    int rank = p->rank > 0 ? p->rank : 8;
    float alpha = p->alpha > 0 ? p->alpha : (float)rank;
    bool ok = layers && (a->params = at_params_create(m->log)) &&
              at_adapter_target(a, layers, AT_COMPONENT_UNET, targets, rank, alpha);
    if (ok && !a->count)
        ok = at_fail(m->log, AT_ERROR_USAGE,
                     "no layer of the denoiser ends in '%s'%s; layers are named such as "
                     "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", targets[0] ? targets[0] : "",
                     targets[0] && targets[1] ? " or another target" : "");
    ok = ok && declare(m, l) && at_params_allocate(a->params, m->dev, p->replicas) &&
         at_params_init(a->params, p->seed);
    at_layers_destroy(&layers);
    if (!ok)
        at_lora_destroy(&l);
    return l;
}

// A layer's name as the model's own builder has it.
static const char *built_name(const struct at_model *m, const struct at_lora_layer *layer)
{
    bool bare = layer->component != AT_COMPONENT_UNET && m->text[layer->component - AT_COMPONENT_TEXT].config.bare;
    return bare && strncmp(layer->name, "text_model.", 11) == 0 ? layer->name + 11 : layer->name;
}

static bool add_layers(struct at_model *m, struct at_lora *l, const struct at_lora_data *d)
{
    bool ok = true;
    for (int i = 0; ok && i < d->count; i++) {
        struct at_adapter *a = &l->part[d->list[i].component];
        ok = (a->params || (a->params = at_params_create(m->log))) &&
             at_adapter_add(a, built_name(m, &d->list[i]), d->list[i].rank, d->list[i].alpha);
    }
    return ok;
}

// One half into its parameter's place among `values`.
static bool read_half(const struct at_lora_data *d, const struct at_st_tensor *half, const struct at_params *params,
                      const char *layer, const char *end, float *values)
{
    char name[AT_LORA_NAME + 32];
    snprintf(name, sizeof(name), "%s%s", layer, end);
    const struct at_param *p = at_params_find(params, name);
    float *file = p ? at_calloc((size_t)half->elements, sizeof(*file)) : NULL;
    bool ok = p && (uint64_t)at_shape_count(p->shape) == half->elements;
    if (!ok)
        at_fail(d->log, AT_ERROR_FAILED, "%s: %s has no place in the model", d->path, half->name);
    else if (!file)
        ok = at_fail_memory(d->log, half->elements * sizeof(*file));
    ok = ok && at_lora_data_read(d, half, file);
    if (ok)
        at_param_from_file(p, file, values + p->offset);
    at_free(file);
    return ok;
}

static bool load(struct at_model *m, struct at_lora *l, const struct at_lora_data *d)
{
    bool ok = true;
    for (int c = 0; ok && c < AT_COMPONENTS; c++) {
        struct at_params *p = l->part[c].params;
        if (!p)
            continue;
        float *values = at_calloc((size_t)p->total, sizeof(*values));
        ok = (values || at_fail_memory(m->log, (size_t)p->total * sizeof(*values))) &&
             at_params_allocate(p, m->dev, 0);
        for (int i = 0; ok && i < d->count; i++) {
            const struct at_lora_layer *layer = &d->list[i];
            const char *name = built_name(m, layer);
            if (layer->component == (enum at_component)c)
                ok = read_half(d, layer->down, p, name, ".lora_A.weight", values) &&
                     read_half(d, layer->up, p, name, ".lora_B.weight", values);
        }
        ok = ok && at_params_write(p, values);
        at_free(values);
    }
    return ok;
}

// The data may be NULL, and is destroyed here.
static struct at_lora *from_data(struct at_model *m, struct at_lora_data *d, float strength)
{
    struct at_lora *l = d ? create(m->log, strength) : NULL;
    // Without a device the model was opened to be checked.
    if (l && !(add_layers(m, l, d) && declare(m, l) && (!m->dev || load(m, l, d))))
        at_lora_destroy(&l);
    at_lora_data_destroy(&d);
    return l;
}

struct at_lora *at_lora_open(struct at_model *m, const char *path, float strength)
{
    struct at_layers *layers = at_lora_layers(m);
    struct at_lora_data_params p = {.layers = layers};
    struct at_lora *l = layers ? from_data(m, at_lora_data_open(m->log, path, &p), strength) : NULL;
    at_layers_destroy(&layers);
    return l;
}

struct at_lora *at_lora_parse(struct at_model *m, const char *name, const void *bytes, size_t size, float strength)
{
    struct at_layers *layers = at_lora_layers(m);
    struct at_lora_data_params p = {.layers = layers};
    struct at_lora *l = layers ? from_data(m, at_lora_data_parse(m->log, name, bytes, size, &p), strength) : NULL;
    at_layers_destroy(&layers);
    return l;
}

// A half in the layout of a file, as a reader of one would give it.
struct half {
    struct at_st_tensor tensor;
    uint64_t shape[AT_RANK];
    float *values;
};

static bool make_half(const struct at_params *params, const char *layer, const char *end, const float *memory,
                      struct half *out)
{
    char name[AT_LORA_NAME + 32];
    snprintf(name, sizeof(name), "%s%s", layer, end);
    const struct at_param *p = at_params_find(params, name);
    size_t n = p ? (size_t)at_shape_count(p->shape) : 0;
    float *values = p ? at_calloc(n, sizeof(*values)) : NULL;
    if (!values)
        return at_fail_memory(params->log, n * sizeof(*values));
    struct at_shape shape = at_param_file_shape(p);
    at_param_to_file(p, memory + p->offset, values);
    for (int i = 0; i < shape.rank; i++)
        out->shape[i] = (uint64_t)shape.dim[i];
    out->values = values;
    out->tensor = (struct at_st_tensor){.name = p->name, .dtype = AT_ST_F32, .rank = shape.rank, .shape = out->shape,
                                        .elements = n, .data = (const uint8_t *)values, .bytes = n * sizeof(*values),
                                        .file = "adapter"};
    return true;
}

static bool fill_layers(const struct at_adapter *a, const float *memory, struct at_lora_layer *list,
                        struct half *halves)
{
    bool ok = true;
    for (int i = 0; ok && i < a->count; i++) {
        struct at_lora_layer *l = &list[i];
        const char *name = a->layers[i].name;
        *l = (struct at_lora_layer){.id = at_strf("unet.%s", name), .rank = a->layers[i].rank,
                                    .alpha = a->layers[i].alpha, .down = &halves[2 * i].tensor,
                                    .up = &halves[2 * i + 1].tensor};
        ok = (l->id || at_fail_memory(a->params->log, strlen(name))) &&
             make_half(a->params, name, ".lora_A.weight", memory, &halves[2 * i]) &&
             make_half(a->params, name, ".lora_B.weight", memory, &halves[2 * i + 1]);
        l->name = ok ? l->id + strlen("unet.") : NULL;
    }
    return ok;
}

bool at_lora_save(const struct at_lora *lora, const char *path, const float *values)
{
    const struct at_adapter *a = &lora->part[AT_COMPONENT_UNET];
    size_t n = (size_t)a->count;
    struct half *halves = at_calloc(2 * n, sizeof(*halves));
    struct at_lora_data d = {.log = a->params->log, .count = a->count, .list = at_calloc(n, sizeof(*d.list))};
    float *memory = values ? NULL : at_calloc((size_t)a->params->total, sizeof(*memory));
    bool ok = (halves && d.list && (values || memory)) ||
              at_fail_memory(d.log, (size_t)a->params->total * sizeof(float));
    ok = ok && (values || at_params_read(a->params, memory)) &&
         fill_layers(a, values ? values : memory, d.list, halves) &&
         at_lora_write(&d, &(struct at_lora_write_params){.path = path, .dialect = AT_LORA_DIFFUSERS});
    for (size_t i = 0; i < n; i++) {
        if (d.list)
            at_free(d.list[i].id);
        for (size_t k = 0; halves && k < 2; k++)
            at_free(halves[2 * i + k].values);
    }
    at_free(d.list);
    at_free(halves);
    at_free(memory);
    return ok;
}
