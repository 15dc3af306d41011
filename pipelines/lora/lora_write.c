// SPDX-License-Identifier: Apache-2.0
// Metadata of kohya's files: sd-scripts train_network.py, networks/resize_lora.py, library/sai_model_spec.py.
#include "pipelines/lora/lora_write.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/json.h"
#include "pipelines/lora/lora_meta.h"

#include <stdio.h>
#include <string.h>

#define MOST_TEXTS 12 // of our own

// One file in the making.
struct writing {
    const struct at_lora_data *d;
    const struct at_lora_write_params *p;
    int component; // the only one that goes into this file; AT_COMPONENTS: all
    const char *path;
    struct at_st_item *items;
    size_t count;
    char **names;
    uint64_t (*shapes)[4];
    float **values, *alphas;
    struct at_st_text *texts;
    size_t text_count;
    char *kept[MOST_TEXTS];
    int kept_count;
};

static bool is_kohya(enum at_lora_dialect dialect)
{
    return dialect == AT_LORA_KOHYA || dialect == AT_LORA_KOHYA_DIFFUSERS;
}

static bool has_alphas(enum at_lora_dialect dialect)
{
    return is_kohya(dialect) || dialect == AT_LORA_COMFYUI;
}

// A linear layer's halves have two dimensions, a convolution's four.
static int shape_half(const struct at_lora_layer *l, const struct at_st_tensor *t, uint64_t shape[4])
{
    bool down = t == l->down;
    shape[0] = t->shape[0], shape[1] = t->shape[1];
    shape[2] = shape[3] = down ? (uint64_t)l->kernel : 1;
    if (!l->layer) {
        for (int i = 0; i < t->rank; i++)
            shape[i] = t->shape[i];
        return t->rank;
    }
    return l->layer->conv ? 4 : 2;
}

// `factor` goes into the values.
static bool add_half(struct writing *w, const struct at_lora_layer *l, const struct at_layer *layer,
                     enum at_lora_half half, float factor)
{
    const struct at_st_tensor *t = half == AT_LORA_DOWN ? l->down : l->up;
    enum at_st_dtype dtype = w->p->convert ? w->p->dtype : t->dtype == AT_ST_F64 ? AT_ST_F32 : t->dtype;
    size_t i = w->count;
    float *values = at_calloc((size_t)t->elements, sizeof(*values));
    if (!values || !(w->names[i] = at_lora_key_print(w->p->dialect, w->d->layers, layer, half))) {
        at_free(values);
        return at_fail_memory(w->d->log, t->elements * sizeof(*values));
    }
    w->values[i] = values;
    w->count++;
    if (!at_lora_data_read(w->d, t, values))
        return false;
    bool same = dtype == t->dtype && factor == 1;
    if (same) {
        at_free(values);
        w->values[i] = values = NULL;
    }
    for (uint64_t k = 0; !same && k < t->elements; k++)
        values[k] *= factor;
    w->items[i] = (struct at_st_item){.name = w->names[i], .dtype = dtype, .shape = w->shapes[i],
                                      .rank = shape_half(l, t, w->shapes[i]), .data = values,
                                      .raw = same ? t->data : NULL};
    return true;
}

static bool add_layer(struct writing *w, const struct at_lora_layer *l)
{
    enum at_lora_dialect dialect = w->p->dialect;
    struct at_layer plain = {.component = l->component, .name = (char *)l->id + (l->name - l->id)};
    const struct at_layer *layer = l->layer ? l->layer : &plain;
    float factor = 1;
    if (dialect == AT_LORA_DIFFUSERS_OLD)
        factor = l->alpha / (float)l->rank;
    else if (has_alphas(dialect) && l->alpha == 0)
        factor = 0; // where alpha 0 would stand for the rank
    if (!add_half(w, l, layer, AT_LORA_DOWN, 1) || !add_half(w, l, layer, AT_LORA_UP, factor))
        return false;
    if (!has_alphas(dialect))
        return true;
    size_t i = w->count++;
    w->alphas[i] = factor == 0 ? (float)l->rank : l->alpha;
    w->names[i] = at_lora_key_print(dialect, w->d->layers, layer, AT_LORA_ALPHA);
    w->items[i] = (struct at_st_item){.name = w->names[i], .dtype = AT_ST_F32, .shape = w->shapes[i],
                                      .data = &w->alphas[i]};
    return w->names[i] || at_fail_memory(w->d->log, strlen(l->id));
}

// `value` is freed with the rest; NULL: no memory.
static bool add_text(struct writing *w, const char *key, char *value)
{
    if (!value)
        return at_fail_memory(w->d->log, strlen(key));
    w->kept[w->kept_count++] = value;
    w->texts[w->text_count++] = (struct at_st_text){key, value};
    return true;
}

// Metadata that go with the names, the values or the shape of the file.
static bool stale(const char *key)
{
    static const char *const keys[] = {"format", "lora_adapter_metadata", "sshs_model_hash", "sshs_legacy_hash",
                                       "ss_network_dim", "ss_network_alpha", "ss_network_module", "ss_network_args",
                                       "modelspec.hash_sha256", "modelspec.title", "modelspec.sai_model_spec",
                                       "modelspec.architecture", "ss_base_model_version", NULL};
    for (const char *const *k = keys; *k; k++)
        if (strcmp(key, *k) == 0)
            return true;
    return false;
}

static void carry_texts(struct writing *w)
{
    size_t n = w->d->file ? at_safetensors_metadata_count(w->d->file) : 0;
    for (size_t i = 0; i < n; i++) {
        struct at_st_text t;
        at_safetensors_metadata_at(w->d->file, i, &t.key, &t.value);
        if (!stale(t.key))
            w->texts[w->text_count++] = t;
    }
}

// What the layers of one kernel size share; kohya's word for what they do not is "Dynamic".
static bool add_network(struct writing *w)
{
    int rank = 0, conv_rank = 0;
    float alpha = 0, conv_alpha = 0;
    bool mixed = false;
    for (int i = 0; i < w->d->count; i++) {
        const struct at_lora_layer *l = &w->d->list[i];
        int *r = l->kernel > 1 ? &conv_rank : &rank;
        float *a = l->kernel > 1 ? &conv_alpha : &alpha;
        mixed = mixed || (*r && (*r != l->rank || *a != l->alpha));
        *r = l->rank, *a = l->alpha;
    }
    bool ok = add_text(w, "ss_network_module", at_strdup("networks.lora")) &&
              add_text(w, "ss_network_dim", mixed || !rank ? at_strdup("Dynamic") : at_strf("%d", rank)) &&
              add_text(w, "ss_network_alpha", mixed || !rank ? at_strdup("Dynamic") : at_strf("%g", (double)alpha));
    if (ok && conv_rank && !mixed)
        ok = add_text(w, "ss_network_args", at_strf("{\"conv_dim\": \"%d\", \"conv_alpha\": \"%g\"}", conv_rank,
                                                    (double)conv_alpha));
    return ok;
}

static bool add_kohya(struct writing *w)
{
    char hash[65];
    struct at_st_content content = {.items = w->items, .count = w->count};
    if (!at_safetensors_hash(w->d->log, &content, hash))
        return false;
    const char *name = at_path_name(w->path), *dot = strrchr(name, '.');
    int stem = dot && dot != name ? (int)(dot - name) : (int)strlen(name);
    bool ok = add_network(w) && add_text(w, "sshs_model_hash", at_strdup(hash)) &&
              add_text(w, "modelspec.sai_model_spec", at_strdup("1.0.0")) &&
              add_text(w, "modelspec.title", at_strf("%.*s", stem, name)) &&
              add_text(w, "modelspec.hash_sha256", at_strf("0x%s", hash));
    if (ok && w->p->base)
        ok = add_text(w, "ss_base_model_version", at_strdup(w->p->base));
    if (ok && w->p->architecture)
        ok = add_text(w, "modelspec.architecture", at_strdup(w->p->architecture));
    return ok;
}

static bool add_diffusers(struct writing *w)
{
    struct at_json_doc *doc = at_json_create(w->d->log, false);
    if (!doc)
        return false;
    for (int c = 0; c < AT_COMPONENTS; c++) {
        char prefix[32];
        snprintf(prefix, sizeof(prefix), "%s.", at_component_name((enum at_component)c));
        at_lora_meta_write(at_json_root(doc), prefix, w->d, (enum at_component)c);
    }
    bool ok = add_text(w, "lora_adapter_metadata", at_json_text(doc, false));
    at_json_destroy(&doc);
    return ok;
}

static bool add_texts(struct writing *w)
{
    carry_texts(w);
    bool ok = add_text(w, "format", at_strdup("pt"));
    if (ok && is_kohya(w->p->dialect))
        ok = add_kohya(w);
    if (ok && w->p->dialect == AT_LORA_DIFFUSERS)
        ok = add_diffusers(w);
    return ok;
}

static bool allocate(struct writing *w)
{
    size_t n = 3 * (size_t)w->d->count, carried = w->d->file ? at_safetensors_metadata_count(w->d->file) : 0;
    w->items = at_calloc(n, sizeof(*w->items));
    w->names = at_calloc(n, sizeof(*w->names));
    w->shapes = at_calloc(n, sizeof(*w->shapes));
    w->values = at_calloc(n, sizeof(*w->values));
    w->alphas = at_calloc(n, sizeof(*w->alphas));
    w->texts = at_calloc(carried + MOST_TEXTS, sizeof(*w->texts));
    return (w->items && w->names && w->shapes && w->values && w->alphas && w->texts) ||
           at_fail_memory(w->d->log, n * sizeof(*w->items));
}

static bool write_file(const struct at_lora_data *d, const struct at_lora_write_params *p, int component,
                       const char *path)
{
    struct writing w = {.d = d, .p = p, .component = component, .path = path};
    bool ok = allocate(&w);
    for (int i = 0; ok && i < d->count; i++)
        if (component == AT_COMPONENTS || d->list[i].component == (enum at_component)component)
            ok = add_layer(&w, &d->list[i]);
    ok = ok && add_texts(&w);
    struct at_st_content content = {.items = w.items, .count = w.count, .metadata = w.texts,
                                    .metadata_count = w.text_count};
    ok = ok && at_safetensors_write(d->log, path, &content);
    for (size_t i = 0; i < w.count; i++) {
        at_free(w.names[i]);
        at_free(w.values[i]);
    }
    for (int i = 0; i < w.kept_count; i++)
        at_free(w.kept[i]);
    at_free(w.items);
    at_free(w.names);
    at_free(w.shapes);
    at_free(w.values);
    at_free(w.alphas);
    at_free(w.texts);
    return ok;
}

// adapter_model.safetensors and adapter_config.json of one component into a folder.
static bool write_peft(const struct at_lora_data *d, const struct at_lora_write_params *p, enum at_component component,
                       const char *dir)
{
    struct at_json_doc *doc = at_json_create(d->log, false);
    char *weights = at_path_join(dir, "adapter_model.safetensors"), *config = at_path_join(dir, "adapter_config.json");
    bool ok = doc && ((weights && config) || at_fail_memory(d->log, strlen(dir))) && at_dir_make(d->log, dir);
    if (ok) {
        at_json_put_str(at_json_root(doc), "peft_type", "LORA");
        at_json_put_str(at_json_root(doc), "task_type", NULL);
        at_json_put_bool(at_json_root(doc), "inference_mode", true);
        at_json_put_str(at_json_root(doc), "bias", "none");
        at_lora_meta_write(at_json_root(doc), "", d, component);
    }
    ok = ok && write_file(d, p, (int)component, weights) && at_json_save(doc, config, true);
    at_free(weights);
    at_free(config);
    at_json_destroy(&doc);
    return ok;
}

bool at_lora_write(const struct at_lora_data *d, const struct at_lora_write_params *p)
{
    if (p->dialect != AT_LORA_PEFT)
        return write_file(d, p, AT_COMPONENTS, p->path);
    struct at_lora_usual usual;
    bool has[AT_COMPONENTS], ok = true;
    int parts = 0;
    for (int c = 0; c < AT_COMPONENTS; c++)
        parts += has[c] = at_lora_usual(d, (enum at_component)c, &usual);
    for (int c = 0; ok && c < AT_COMPONENTS; c++) {
        if (!has[c])
            continue;
        char *dir = parts > 1 ? at_path_join(p->path, at_component_name((enum at_component)c)) : at_strdup(p->path);
        ok = (dir || at_fail_memory(d->log, strlen(p->path))) && write_peft(d, p, (enum at_component)c, dir);
        at_free(dir);
    }
    return ok;
}
