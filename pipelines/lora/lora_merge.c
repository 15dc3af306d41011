// SPDX-License-Identifier: Apache-2.0
#include "pipelines/lora/lora_merge.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// The parts of a folder that hold weights.
static const struct part {
    const char *name, *base;
    int component; // AT_COMPONENTS: none that adapters know
} parts[] = {
    {"unet", "diffusion_pytorch_model", AT_COMPONENT_UNET},
    {"text_encoder", "model", AT_COMPONENT_TEXT},
    {"text_encoder_2", "model", AT_COMPONENT_TEXT_2},
    {"vae", "diffusion_pytorch_model", AT_COMPONENTS},
};
#define PARTS (sizeof(parts) / sizeof(*parts))

struct merging {
    const struct at_model *m;
    const struct at_lora_merge_params *p;
    struct at_log *log;
    size_t done, total; // tensors
};

static bool adapted(const struct merging *g, const struct part *part)
{
    struct at_json value = at_json_get(at_source_index(g->m->source), part->name);
    if (g->p->convert && at_json_is_array(value) && at_json_is_string(at_json_at(value, 0)))
        return true;
    for (int i = 0; i < g->p->count; i++)
        for (int k = 0; k < g->p->shares[i].data->count; k++)
            if ((int)g->p->shares[i].data->list[k].component == part->component)
                return true;
    return false;
}

// What an adapter does to the weight of this name.
static const struct at_lora_layer *layer_of(const struct at_lora_data *d, const struct part *part, const char *name)
{
    size_t n = strlen(name);
    if (part->component == AT_COMPONENTS || n <= 7 || strcmp(name + n - 7, ".weight") != 0)
        return NULL;
    bool bare = part->component != AT_COMPONENT_UNET && strncmp(name, "encoder.", 8) == 0;
    char id[AT_LORA_NAME + 64];
    snprintf(id, sizeof(id), "%s.%s%.*s", part->name, bare ? "text_model." : "", (int)(n - 7), name);
    int i = at_index_find(&d->index, d->list, sizeof(*d->list), id);
    return i < 0 ? NULL : &d->list[i];
}

// sum (out, in) += factor up (out, rank) down (rank, in)
static void add_product(double *sum, int64_t out, int64_t in, int rank, double factor, const float *up,
                        const float *down)
{
    for (int64_t o = 0; o < out; o++)
        for (int r = 0; r < rank; r++) {
            double u = factor * (double)up[o * rank + r], *row = sum + o * in;
            const float *d = down + r * in;
            for (int64_t i = 0; i < in; i++)
                row[i] += u * (double)d[i];
        }
}

static bool add_layer(const struct at_lora_data *d, const struct at_lora_layer *l, double strength,
                      const struct at_st_tensor *t, double *sum)
{
    float *down = at_calloc((size_t)l->down->elements, sizeof(*down));
    float *up = at_calloc((size_t)l->up->elements, sizeof(*up));
    int64_t in = l->in * l->kernel * l->kernel;
    bool ok = (down && up) || at_fail_memory(d->log, l->down->elements * sizeof(*down));
    if (ok && (uint64_t)(l->out * in) != t->elements)
        ok = at_fail(d->log, AT_ERROR_INPUT, "%s: the weight has %llu values, but %s of %s is for %lld", t->name,
                     (unsigned long long)t->elements, l->id, d->path, (long long)(l->out * in));
    ok = ok && at_lora_data_read(d, l->down, down) && at_lora_data_read(d, l->up, up);
    if (ok)
        add_product(sum, l->out, in, l->rank, strength * (double)l->alpha / l->rank, up, down);
    at_free(down);
    at_free(up);
    return ok;
}

// The merged weight as f32, or NULL with *ok if no adapter is there for it.
static float *merged(struct merging *g, const struct part *part, const struct at_safetensors *weights,
                     const struct at_st_tensor *t, bool *ok)
{
    double *sum = NULL;
    float *out = NULL;
    for (int i = 0; *ok && i < g->p->count; i++) {
        const struct at_lora_share *share = &g->p->shares[i];
        const struct at_lora_layer *l = layer_of(share->data, part, t->name);
        if (!l)
            continue;
        if (!sum) {
            sum = at_calloc((size_t)t->elements, sizeof(*sum));
            out = at_calloc((size_t)t->elements, sizeof(*out));
            *ok = ((sum && out) || at_fail_memory(g->log, t->elements * sizeof(*sum))) &&
                  at_safetensors_to_f32(weights, t, out);
            for (uint64_t k = 0; *ok && k < t->elements; k++)
                sum[k] = (double)out[k];
        }
        *ok = *ok && add_layer(share->data, l, share->strength, t, sum);
    }
    for (uint64_t k = 0; sum && *ok && k < t->elements; k++)
        if (!isfinite(out[k] = (float)sum[k]))
            *ok = at_fail(g->log, AT_ERROR_FAILED, "%s.%s: the merged weight is not finite", part->name, t->name);
    at_free(sum);
    return out;
}

static bool is_float(enum at_st_dtype dtype)
{
    return dtype == AT_ST_F32 || dtype == AT_ST_F16 || dtype == AT_ST_BF16 || dtype == AT_ST_F64;
}

static bool add_tensor(struct merging *g, const struct part *part, const struct at_safetensors *weights,
                       const struct at_st_tensor *t, struct at_st_item *item, float **values)
{
    bool ok = true, convert = g->p->convert && is_float(t->dtype);
    enum at_st_dtype kept = t->dtype == AT_ST_F64 ? AT_ST_F32 : t->dtype;
    *item = (struct at_st_item){.name = t->name, .dtype = convert ? g->p->dtype : t->dtype, .rank = t->rank,
                                .shape = t->shape, .raw = t->data};
    *values = merged(g, part, weights, t, &ok);
    if (ok && !*values && convert && t->dtype != g->p->dtype) {
        *values = at_calloc((size_t)t->elements, sizeof(**values));
        ok = (*values || at_fail_memory(g->log, t->elements * sizeof(**values))) &&
             at_safetensors_to_f32(weights, t, *values);
    }
    if (*values) {
        item->data = *values;
        item->raw = NULL;
        item->dtype = convert ? g->p->dtype : kept;
    }
    g->done++;
    if (ok && g->p->progress && !g->p->progress(g->p->priv, (double)g->done / (double)g->total))
        ok = at_fail(g->log, AT_ERROR_INTERRUPTED, "merging was interrupted; %s is not finished", g->p->out);
    return ok;
}

static bool write_part(struct merging *g, const struct part *part)
{
    struct at_safetensors *weights = at_source_weights(g->m->source, part->name);
    size_t n = weights ? at_safetensors_count(weights) : 0;
    struct at_st_item *items = at_calloc(n, sizeof(*items));
    float **values = at_calloc(n, sizeof(*values));
    char *path = at_strf("%s/%s/%s.safetensors", g->p->out, part->name, part->base);
    bool ok = weights && ((items && values && path) || at_fail_memory(g->log, n * sizeof(*items)));
    for (size_t i = 0; ok && i < n; i++)
        ok = add_tensor(g, part, weights, at_safetensors_at(weights, i), &items[i], &values[i]);
    struct at_st_text format = {"format", "pt"};
    ok = ok && at_safetensors_write(g->log, path, &(struct at_st_content){items, n, &format, 1});
    for (size_t i = 0; values && i < n; i++)
        at_free(values[i]);
    at_free(values);
    at_free(items);
    at_free(path);
    at_safetensors_destroy(&weights);
    return ok;
}

// A file, or a folder with all that is in it.
static bool copy(struct at_log *log, const char *from, const char *to)
{
    struct at_map map = {0};
    if (!at_dir_exists(from)) {
        bool ok = at_file_map(log, from, &map) && at_file_replace(log, to, map.data, map.size);
        at_file_unmap(&map);
        return ok;
    }
    char **names = NULL;
    size_t count = 0;
    bool ok = at_dir_list(log, from, &names, &count) && at_dir_make(log, to);
    for (size_t i = 0; ok && i < count; i++) {
        char *a = at_path_join(from, names[i]), *b = at_path_join(to, names[i]);
        ok = ((a && b) || at_fail_memory(log, strlen(from))) && copy(log, a, b);
        at_free(a);
        at_free(b);
    }
    at_names_free(&names, count);
    return ok;
}

// A component with all that is in its folder.
static bool copy_component(struct merging *g, const char *name)
{
    if (!at_source_is_folder(g->m->source))
        return at_source_save_component(g->m->source, name, g->p->out);
    char *from = at_path_join(at_source_path(g->m->source), name), *to = at_path_join(g->p->out, name);
    bool ok = (from && to) || at_fail_memory(g->log, strlen(name));
    if (ok && (at_dir_exists(from) || at_file_exists(from)))
        ok = copy(g->log, from, to);
    at_free(from);
    at_free(to);
    return ok;
}

static bool save_config(struct merging *g, const char *name)
{
    char *file = at_path_join(name, "config.json");
    bool ok = file ? at_source_save_file(g->m->source, file, g->p->out) : at_fail_memory(g->log, strlen(name));
    at_free(file);
    return ok;
}

static bool write_component(struct merging *g, const char *name)
{
    for (size_t i = 0; i < PARTS; i++)
        if (strcmp(parts[i].name, name) == 0 && adapted(g, &parts[i]))
            return save_config(g, name) && write_part(g, &parts[i]);
    return copy_component(g, name);
}

static bool count_tensors(struct merging *g)
{
    bool ok = true;
    for (size_t i = 0; ok && i < PARTS; i++) {
        if (!adapted(g, &parts[i]))
            continue;
        struct at_safetensors *weights = at_source_weights(g->m->source, parts[i].name);
        ok = weights;
        g->total += ok ? at_safetensors_count(weights) : 0;
        at_safetensors_destroy(&weights);
    }
    return ok;
}

static bool check(const struct merging *g)
{
    char **names = NULL;
    size_t count = 0;
    if (at_file_exists(g->p->out))
        return at_fail(g->log, AT_ERROR_INPUT, "%s: is a file; give the folder to write", g->p->out);
    if (at_dir_exists(g->p->out)) {
        if (!at_dir_list(g->log, g->p->out, &names, &count))
            return false;
        at_names_free(&names, count);
    }
    return !count ||
           at_fail(g->log, AT_ERROR_INPUT, "%s: is not empty; give a folder that is not there yet", g->p->out);
}

bool at_lora_merge(const struct at_model *m, const struct at_lora_merge_params *p)
{
    struct merging g = {.m = m, .p = p, .log = m->log};
    bool ok = check(&g) && at_dir_make(g.log, p->out) && count_tensors(&g);
    struct at_json index = at_source_index(m->source);
    for (struct at_json v = at_json_first(index); ok && v.item; v = at_json_next(v))
        if (at_json_is_array(v) && at_json_is_string(at_json_at(v, 0)) && !strchr(at_json_key(v), '/') &&
            at_json_key(v)[0] != '.')
            ok = write_component(&g, at_json_key(v));
    return ok && at_source_save_file(m->source, "model_index.json", p->out);
}
