// SPDX-License-Identifier: Apache-2.0
#include "pipelines/lora/lora.h"

#include "core/base/alloc.h"
#include "pipelines/lora/lora_data.h"
#include "pipelines/model/condition.h"
#include "pipelines/model/text.h"

#include <stdio.h>
#include <string.h>

static const char *const usual_unet[] = {"to_q", "to_k", "to_v", "to_out.0", NULL};
static const char *const usual_text[] = {"q_proj", "k_proj", "v_proj", "out_proj", NULL};

#define MOST_ENDS 32 // that a message lists

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

// A layer's name as the model's own builder has it.
static const char *built_name(const struct at_model *m, enum at_component component, const char *name)
{
    bool bare = component != AT_COMPONENT_UNET && m->text[component - AT_COMPONENT_TEXT].config.bare;
    return bare && strncmp(name, "text_model.", 11) == 0 ? name + 11 : name;
}

// What a layer is called within its block: "to_q", "to_out.0".
static const char *end_of(const char *name)
{
    const char *end = name + strlen(name);
    bool digits = true;
    while (end > name && (end[-1] != '.' || digits)) {
        end--;
        digits = digits && ((*end >= '0' && *end <= '9') || *end == '.');
    }
    return end;
}

// "to_q, to_k, ...": what targets there are. `text` holds so many bytes.
static void list_ends(const struct at_layers *layers, bool texts, char *text, size_t bytes)
{
    const char *ends[MOST_ENDS];
    int count = 0;
    text[0] = '\0';
    for (int i = 0; i < layers->count && count < MOST_ENDS; i++) {
        const char *end = end_of(layers->list[i].name);
        bool known = layers->list[i].component != AT_COMPONENT_UNET && !texts;
        for (int k = 0; k < count; k++)
            known = known || strcmp(ends[k], end) == 0;
        if (known)
            continue;
        ends[count++] = end;
        size_t used = strlen(text);
        snprintf(text + used, bytes - used, "%s%s", used ? ", " : "", end);
    }
}

// Every target must be of use.
static bool check_targets(const struct at_layers *layers, const struct at_lora_params *p)
{
    for (const char *const *t = p->targets; t && *t; t++) {
        const char *const one[] = {*t, NULL};
        bool fits = false;
        for (int i = 0; i < layers->count && !fits; i++)
            fits = (p->text || layers->list[i].component == AT_COMPONENT_UNET) &&
                   at_adapter_targeted(layers->list[i].name, one);
        char ends[1024];
        list_ends(layers, p->text, ends, sizeof(ends));
        if (!fits)
            return at_fail(layers->log, AT_ERROR_USAGE, "no layer of the %s ends in '%s'; there are %s, and whole names "
                           "such as mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
                           p->text ? "denoiser and the text encoders" : "denoiser", *t, ends);
    }
    return true;
}

// The layers of one component: those of `targets`, or, where it has none of them, the usual ones.
static bool add_targets(struct at_model *m, struct at_adapter *a, const struct at_layers *layers,
                        enum at_component component, const struct at_lora_params *p)
{
    const char *const *usual = component == AT_COMPONENT_UNET ? usual_unet : usual_text;
    const char *const *const lists[] = {p->targets, usual};
    int rank = p->rank > 0 ? p->rank : 8;
    bool ok = a->params || (a->params = at_params_create(m->log));
    for (int k = p->targets ? 0 : 1; ok && k < 2 && !a->count; k++)
        for (int i = 0; ok && i < layers->count; i++) {
            const struct at_layer *l = &layers->list[i];
            if (l->component == component && at_adapter_targeted(l->name, lists[k]))
                ok = at_adapter_add(a, built_name(m, component, l->name), rank, p->alpha > 0 ? p->alpha : (float)rank);
        }
    if (ok && !a->count)
        ok = at_fail(m->log, AT_ERROR_INPUT, "%s: the %s has no layer that is usually adapted; name some with --target",
                     m->path, at_component_name(component));
    return ok;
}

static bool make(struct at_model *m, struct at_lora *l, const struct at_lora_params *p)
{
    struct at_layers *layers = at_lora_layers(m);
    bool ok = layers && check_targets(layers, p);
    for (int c = 0; ok && c < (p->text ? 1 + m->texts : 1); c++)
        ok = add_targets(m, &l->part[c], layers, (enum at_component)c, p);
    ok = ok && declare(m, l);
    for (int c = 0; ok && c < AT_COMPONENTS; c++)
        if (l->part[c].params)
            ok = at_params_allocate(l->part[c].params, m->dev, p->replicas) &&
                 at_params_init(l->part[c].params, p->seed + (uint64_t)c);
    at_layers_destroy(&layers);
    return ok;
}

static bool add_layers(struct at_model *m, struct at_lora *l, const struct at_lora_data *d)
{
    bool ok = true;
    for (int i = 0; ok && i < d->count; i++) {
        const struct at_lora_layer *layer = &d->list[i];
        struct at_adapter *a = &l->part[layer->component];
        ok = (a->params || (a->params = at_params_create(m->log))) &&
             at_adapter_add(a, built_name(m, layer->component, layer->name), layer->rank, layer->alpha);
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

static bool load(struct at_model *m, struct at_lora *l, const struct at_lora_data *d, int replicas)
{
    bool ok = true;
    for (int c = 0; ok && c < AT_COMPONENTS; c++) {
        struct at_params *p = l->part[c].params;
        if (!p)
            continue;
        float *values = at_calloc((size_t)p->total, sizeof(*values));
        ok = (values || at_fail_memory(m->log, (size_t)p->total * sizeof(*values))) &&
             at_params_allocate(p, m->dev, replicas);
        for (int i = 0; ok && i < d->count; i++) {
            const struct at_lora_layer *layer = &d->list[i];
            const char *name = built_name(m, layer->component, layer->name);
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
static bool fill(struct at_model *m, struct at_lora *l, struct at_lora_data *d, int replicas)
{
    // Without a device the model was opened to be checked.
    bool ok = d && add_layers(m, l, d) && declare(m, l) && (!m->dev || load(m, l, d, replicas));
    at_lora_data_destroy(&d);
    return ok;
}

static struct at_lora *open_file(struct at_model *m, const char *path, float strength, int replicas)
{
    struct at_layers *layers = at_lora_layers(m);
    struct at_lora_data_params p = {.layers = layers};
    struct at_lora *l = layers ? create(m->log, strength) : NULL;
    if (l && !fill(m, l, at_lora_data_open(m->log, path, &p), replicas))
        at_lora_destroy(&l);
    at_layers_destroy(&layers);
    return l;
}

struct at_lora *at_lora_open(struct at_model *m, const char *path, float strength)
{
    return open_file(m, path, strength, 0);
}

struct at_lora *at_lora_parse(struct at_model *m, const char *name, const void *bytes, size_t size, float strength)
{
    struct at_layers *layers = at_lora_layers(m);
    struct at_lora_data_params p = {.layers = layers};
    struct at_lora *l = layers ? create(m->log, strength) : NULL;
    if (l && !fill(m, l, at_lora_data_parse(m->log, name, bytes, size, &p), 0))
        at_lora_destroy(&l);
    at_layers_destroy(&layers);
    return l;
}

struct at_lora *at_lora_create(struct at_model *m, const struct at_lora_params *p)
{
    struct at_lora *l = p->file ? open_file(m, p->file, 1, p->replicas) : create(m->log, 1);
    bool ok = l && (p->file || make(m, l, p));
    if (ok && p->text && !at_lora_has_text(l))
        ok = at_fail(m->log, AT_ERROR_USAGE, "%s adapts no text encoder: what is trained is what it adapts; leave "
                     "--text-encoder out, or begin without it", p->file);
    if (!ok)
        at_lora_destroy(&l);
    return l;
}

bool at_lora_has_text(const struct at_lora *l)
{
    return l->part[AT_COMPONENT_TEXT].params || l->part[AT_COMPONENT_TEXT_2].params;
}

void at_lora_adapt_texts(struct at_model *m, struct at_lora *const *loras, int count)
{
    struct at_adapter parts[AT_MODEL_ADAPTERS];
    for (int i = 0; i < m->texts; i++)
        at_text_adapt(m, i, parts, at_lora_parts(loras, count, (enum at_component)(AT_COMPONENT_TEXT + i), parts));
}

int at_lora_sets(const struct at_lora *l, struct at_params *sets[AT_COMPONENTS], const char *names[AT_COMPONENTS])
{
    static const char *const words[AT_COMPONENTS] = {"lora", "lora_text_encoder", "lora_text_encoder_2"};
    int n = 0;
    for (int c = 0; c < AT_COMPONENTS; c++)
        if (l->part[c].params) {
            names[n] = words[c];
            sets[n++] = l->part[c].params;
        }
    return n;
}
