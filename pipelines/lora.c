// SPDX-License-Identifier: Apache-2.0
#include "pipelines/lora.h"

#include "core/base/alloc.h"
#include "core/io/json.h"
#include "core/io/safetensors.h"
#include "pipelines/condition.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "unet."
#define DOWN ".lora_A.weight"
#define MOST_RANK 65536
#define MOST_ALPHA 1e9

static const char *const usual_targets[] = {"to_q", "to_k", "to_v", "to_out.0", NULL};

static struct at_lora *create(struct at_model *m, int targets)
{
    struct at_lora *l = at_calloc(1, sizeof(*l));
    if (l) {
        l->params = at_params_create(m->log);
        l->targets = at_calloc((size_t)targets + 1, sizeof(*l->targets));
    }
    if (!l || !l->params || !l->targets) {
        at_fail_memory(m->log, sizeof(*l));
        at_lora_destroy(&l);
        return NULL;
    }
    l->adapter = (struct at_adapter){.params = l->params, .targets = (const char *const *)l->targets, .strength = 1};
    return l;
}

void at_lora_destroy(struct at_lora **lora)
{
    struct at_lora *l = *lora;
    if (!l)
        return;
    at_params_destroy(&l->params);
    for (int i = 0; l->targets && l->targets[i]; i++)
        at_free(l->targets[i]);
    at_free(l->targets);
    at_free(l);
    *lora = NULL;
}

// Declares the adapter's weights by building the denoiser once with it.
static bool declare(struct at_model *m, struct at_lora *l)
{
    struct at_graph *g = at_graph_create(m->log);
    if (!g)
        return false;
    int side = 1 << (m->unet.blocks - 1);
    struct at_builder b = {.g = g, .params = m->unet_params, .adapters = &l->adapter, .adapter_count = 1};
    struct at_node *x = at_graph_input(g, "x", AT_SHAPE(1, side, side, m->unet.in_channels), AT_F32);
    struct at_node *t = at_graph_input(g, "t", AT_SHAPE(1), AT_F32);
    struct at_node *rows = at_graph_input(g, "rows", AT_SHAPE(1, (int64_t)at_condition_floats(&m->unet, 1)), AT_F32);
    at_condition_unet(&b, &m->unet, x, t, rows);
    bool ok = at_graph_ok(g);
    at_graph_destroy(&g);
    return ok;
}

struct at_lora *at_lora_create(struct at_model *m, const struct at_lora_params *p)
{
    const char *const *targets = p->targets ? p->targets : usual_targets;
    int count = 0;
    while (targets[count])
        count++;
    struct at_lora *l = create(m, count);
    if (!l)
        return NULL;
    bool ok = true;
    for (int i = 0; ok && i < count; i++)
        ok = (l->targets[i] = at_strdup(targets[i])) || at_fail_memory(m->log, strlen(targets[i]));
    l->adapter.rank = p->rank > 0 ? p->rank : 8;
    l->adapter.alpha = p->alpha > 0 ? p->alpha : (float)l->adapter.rank;
    ok = ok && declare(m, l);
    if (ok && !l->params->count)
        ok = at_fail(m->log, AT_ERROR_USAGE,
                     "no layer of the denoiser ends in '%s'%s; layers are named such as "
                     "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", targets[0] ? targets[0] : "",
                     count > 1 ? " or another target" : "");
    ok = ok && at_params_allocate(l->params, m->dev, p->replicas) && at_params_init(l->params, p->seed);
    if (!ok)
        at_lora_destroy(&l);
    return l;
}

// The layer names a file adapts, from its lora_A keys.
static bool read_targets(struct at_model *m, struct at_lora *l, const struct at_safetensors *file, const char *path)
{
    int count = 0;
    for (size_t i = 0; i < at_safetensors_count(file); i++) {
        const struct at_st_tensor *t = at_safetensors_at(file, i);
        size_t n = strlen(t->name), tail = strlen(DOWN);
        if (strncmp(t->name, PREFIX, strlen(PREFIX)) != 0)
            return at_fail(m->log, AT_ERROR_INPUT, "%s: %s: only adapters of the denoiser, with names such as "
                           "unet.LAYER.lora_A.weight, are supported", path, t->name);
        if (n <= tail || strcmp(t->name + n - tail, DOWN) != 0)
            continue;
        if (t->rank < 2 || t->shape[0] < 1 || t->shape[0] > MOST_RANK)
            return at_fail(m->log, AT_ERROR_INPUT, "%s: %s: is no half of an adapter; expected (rank, inputs) with a "
                           "rank from 1 to %d", path, t->name, MOST_RANK);
        int rank = (int)t->shape[0];
        if (count && rank != l->adapter.rank)
            return at_fail(m->log, AT_ERROR_INPUT, "%s: %s has rank %d and another layer %d: mixed ranks are not "
                           "supported yet", path, t->name, rank, l->adapter.rank);
        l->adapter.rank = rank;
        if (!(l->targets[count++] = at_strf("%.*s", (int)(n - tail - strlen(PREFIX)), t->name + strlen(PREFIX))))
            return at_fail_memory(m->log, n);
    }
    return count || at_fail(m->log, AT_ERROR_INPUT, "%s: holds no unet.*.lora_A.weight; other adapter formats are not "
                            "supported yet", path);
}

// alpha from lora_adapter_metadata ("unet.lora_alpha"); without it alpha is the rank.
static bool read_alpha(struct at_lora *l, const struct at_safetensors *file, const char *path, struct at_log *log)
{
    l->adapter.alpha = (float)l->adapter.rank;
    const char *text = at_safetensors_metadata(file, "lora_adapter_metadata");
    if (!text)
        return true;
    char name[1024];
    snprintf(name, sizeof(name), "%s: lora_adapter_metadata", path);
    struct at_json_doc *doc = at_json_parse(log, name, text, strlen(text), NULL);
    double alpha = l->adapter.rank;
    bool ok = doc && at_json_num(at_json_root(doc), "unet.lora_alpha", alpha, &alpha);
    if (ok && !(fabs(alpha) <= MOST_ALPHA))
        ok = at_json_fail(at_json_get(at_json_root(doc), "unet.lora_alpha"), "%g is out of range", alpha);
    l->adapter.alpha = (float)alpha;
    at_json_destroy(&doc);
    return ok;
}

static struct at_lora *from_tensors(struct at_model *m, const struct at_safetensors *file, const char *path,
                                    float strength)
{
    struct at_lora *l = create(m, (int)at_safetensors_count(file));
    bool ok = l && read_targets(m, l, file, path) && read_alpha(l, file, path, m->log) && declare(m, l) &&
              at_params_check(l->params, file, PREFIX, NULL);
    if (ok && m->dev) // without a device the model was opened to be checked
        ok = at_params_allocate(l->params, m->dev, 0) && at_params_load(l->params, file, PREFIX, NULL);
    if (!ok)
        at_lora_destroy(&l);
    else
        l->adapter.strength = strength;
    return l;
}

struct at_lora *at_lora_open(struct at_model *m, const char *path, float strength)
{
    struct at_safetensors *file = at_safetensors_open(m->log, path);
    struct at_lora *l = file ? from_tensors(m, file, path, strength) : NULL;
    at_safetensors_destroy(&file);
    return l;
}

struct at_lora *at_lora_parse(struct at_model *m, const char *name, const void *bytes, size_t size, float strength)
{
    struct at_safetensors *file = at_safetensors_parse(m->log, name, bytes, size);
    struct at_lora *l = file ? from_tensors(m, file, name, strength) : NULL;
    at_safetensors_destroy(&file);
    return l;
}

bool at_lora_save(const struct at_lora *l, const char *path, const float *values)
{
    struct at_log *log = l->params->log;
    struct at_json_doc *doc = at_json_create(log, false);
    if (!doc)
        return false;
    struct at_json root = at_json_root(doc);
    at_json_put_int(root, "unet.r", l->adapter.rank);
    at_json_put_num(root, "unet.lora_alpha", (double)l->adapter.alpha);
    struct at_json modules = at_json_put_array(root, "unet.target_modules");
    for (int i = 0; l->targets[i]; i++)
        at_json_put_str(modules, NULL, l->targets[i]);
    char *text = at_json_text(doc, false);
    struct at_st_text metadata[] = {{"format", "pt"}, {"lora_adapter_metadata", text}};
    struct at_params_save_params how = {.path = path, .prefix = PREFIX, .dtype = AT_ST_F32, .values = values,
                                        .metadata = metadata, .metadata_count = 2};
    bool ok = text && at_params_save(l->params, &how);
    at_free(text);
    at_json_destroy(&doc);
    return ok;
}
