// SPDX-License-Identifier: Apache-2.0
#include "pipelines/lora/lora_data.h"

#include "core/base/alloc.h"
#include "core/base/listing.h"
#include "core/io/file.h"
#include "pipelines/lora/lora_meta.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DIFFUSERS_FILE "pytorch_lora_weights.safetensors"
#define PEFT_FILE "adapter_model.safetensors"
#define PEFT_CONFIG "adapter_config.json"
#define MOST_RANK 65536
#define MOST_ALPHA 1e9f

// What is found while a file is read.
struct reading {
    struct at_lora_data *d;
    const struct at_lora_data_params *p;
    int dialects[AT_LORA_DIALECTS];
    struct at_listing unknown, lacking, twice, lone, shapes, ranks, alphas;
    enum at_component lacked;
    const char *foreign, *kind; // a tensor that is of another kind of adapter
    int foreigners;
    const struct at_st_tensor **alpha; // by layer
    size_t alpha_capacity;
};

static struct at_lora_layer *layer_of(struct reading *r, const struct at_lora_key *key)
{
    struct at_lora_data *d = r->d;
    char *id = at_strf("%s.%s", at_component_name(key->component), key->name);
    int at = id ? at_index_find(&d->index, d->list, sizeof(*d->list), id) : -1;
    if (at >= 0 || !id) {
        at_free(id);
        return at < 0 ? NULL : &d->list[at];
    }
    size_t need = (size_t)d->count + 1;
    if (!at_grow((void **)&d->list, &d->capacity, need, sizeof(*d->list)) ||
        !at_grow((void **)&r->alpha, &r->alpha_capacity, need, sizeof(*r->alpha))) {
        at_free(id);
        return NULL;
    }
    r->alpha[d->count] = NULL;
    d->list[d->count++] = (struct at_lora_layer){.id = id, .name = id + strlen(at_component_name(key->component)) + 1,
                                                 .component = key->component, .layer = key->layer};
    return at_index_add(&d->index, d->list, sizeof(*d->list), d->count) ? &d->list[d->count - 1] : NULL;
}

// Gives one tensor its place.
static bool take(struct reading *r, const struct at_st_tensor *t)
{
    struct at_lora_key key;
    enum at_lora_known known = at_lora_key_parse(t->name, r->p->layers, &key);
    if (known == AT_LORA_UNKNOWN)
        at_listing_add(&r->unknown, t->name);
    if (known == AT_LORA_LACKING) {
        at_listing_add(&r->lacking, t->name);
        r->lacked = key.component;
    }
    if (known != AT_LORA_KNOWN)
        return true;
    struct at_lora_layer *layer = layer_of(r, &key);
    if (!layer)
        return at_fail_memory(r->d->log, sizeof(*layer));
    const struct at_st_tensor **place = key.half == AT_LORA_DOWN ? &layer->down
                                        : key.half == AT_LORA_UP ? &layer->up
                                                                 : &r->alpha[layer - r->d->list];
    if (*place)
        at_listing_tell(&r->twice, t->name, " is %s again", (*place)->name);
    *place = t;
    if (key.half != AT_LORA_ALPHA)
        r->dialects[key.dialect]++;
    return true;
}

static bool take_all(struct reading *r)
{
    bool ok = true;
    size_t n = at_safetensors_count(r->d->file);
    for (size_t i = 0; i < n; i++) {
        const char *name = at_safetensors_at(r->d->file, i)->name, *kind = at_lora_foreign(name);
        if (kind && !r->foreigners++)
            r->foreign = name, r->kind = kind;
    }
    if (r->foreigners)
        return at_fail(r->d->log, AT_ERROR_INPUT, "%s: this is %s (%d of its tensors are, such as %s); only plain LoRA is "
                       "supported", r->d->path, r->kind, r->foreigners, r->foreign);
    for (size_t i = 0; ok && i < n; i++)
        ok = take(r, at_safetensors_at(r->d->file, i));
    return ok;
}

// (a,b) or (a,b,k,k) as three numbers; false for anything else.
static bool sizes(const struct at_st_tensor *t, uint64_t *a, uint64_t *b, uint64_t *k)
{
    *a = t->rank > 1 ? t->shape[0] : 0;
    *b = t->rank > 1 ? t->shape[1] : 0;
    *k = t->rank == 4 ? t->shape[2] : 1;
    bool flat = t->rank == 2 || (t->rank == 4 && t->shape[2] == t->shape[3]);
    return flat && t->elements > 0 && *a <= 1 << 24 && *b <= 1 << 24 && *k <= 64;
}

static void shape_text(const struct at_st_tensor *t, char *text, size_t size)
{
    size_t used = 0;
    for (int i = 0; i < t->rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%llu", i ? "," : "(", (unsigned long long)t->shape[i]);
    if (used < size)
        snprintf(text + used, size - used, "%s", t->rank ? ")" : "()");
}

// Sizes of the halves, against each other and against the layer.
static void check_layer(struct reading *r, struct at_lora_layer *l)
{
    if (!l->down || !l->up) {
        const struct at_st_tensor *one = l->down ? l->down : l->up;
        at_listing_tell(&r->lone, one ? one->name : l->id, one ? " has no other half" : " has an alpha but no halves");
        return;
    }
    uint64_t rank, in, kernel, out, up_rank, up_kernel;
    char down_text[96], up_text[96];
    shape_text(l->down, down_text, sizeof(down_text));
    shape_text(l->up, up_text, sizeof(up_text));
    if (!sizes(l->down, &rank, &in, &kernel) || !sizes(l->up, &out, &up_rank, &up_kernel) || up_kernel != 1 ||
        rank > MOST_RANK) {
        at_listing_tell(&r->shapes, l->id, ": %s and %s are no halves", down_text, up_text);
        return;
    }
    l->rank = (int)rank, l->in = (int64_t)in, l->out = (int64_t)out, l->kernel = (int)kernel;
    if (rank != up_rank)
        at_listing_tell(&r->ranks, l->id, ": %s and %s", down_text, up_text);
    else if (l->layer && (l->layer->in != l->in || l->layer->out != l->out || l->layer->kernel != l->kernel))
        at_listing_tell(&r->shapes, l->id, ": %s and %s, but the layer takes %lld and gives %lld, %dx%d", down_text,
                       up_text, (long long)l->layer->in, (long long)l->layer->out, l->layer->kernel, l->layer->kernel);
}

// kohya: no alpha, or 0, stands for the rank.
static void set_alpha(struct reading *r, struct at_lora_layer *l, const struct at_st_tensor *t)
{
    float alpha = 0;
    l->alpha = (float)l->rank;
    if (!t)
        return;
    if (t->elements != 1 || !at_safetensors_to_f32(r->d->file, t, &alpha) || !(fabsf(alpha) <= MOST_ALPHA))
        at_listing_tell(&r->alphas, t->name, "%s", t->elements == 1 ? " is out of range" : " is no single number");
    else if (alpha != 0)
        l->alpha = alpha;
}

// What may be left out is a warning then.
static bool report_left_out(const struct reading *r)
{
    const struct at_lora_data *d = r->d;
    const char *of = r->p->layers ? "of this model" : "that is named as in an adapter";
    const char *part = at_component_name(r->lacked);
    int unknown = r->unknown.count, lacking = r->lacking.count;
    bool ok = true;
    if (r->p->ignore_unknown)
        at_listing_warn(&r->unknown, d->log, "%s: %d tensors fit no layer and are left out", d->path, unknown);
    else
        ok = at_listing_report(&r->unknown, d->log, AT_ERROR_INPUT, "%s: %d tensors fit no layer %s (attune lora "
                               "convert --ignore-unknown leaves them out)", d->path, unknown, of);
    if (r->p->drop_missing)
        at_listing_warn(&r->lacking, d->log, "%s: %d tensors are of the %s, which the model lacks, and are left out",
                        d->path, lacking, part);
    else
        ok = at_listing_report(&r->lacking, d->log, AT_ERROR_INPUT, "%s: %d tensors are of the %s, which the model "
                               "lacks (attune lora convert --drop-missing leaves them out)", d->path, lacking,
                               part) && ok;
    return ok;
}

static bool report(const struct reading *r)
{
    const struct at_lora_data *d = r->d;
    const struct {
        const struct at_listing *listing;
        const char *what;
    } wrong[] = {
        {&r->twice, "tensors occur under two names"},
        {&r->lone, "layers are not whole"},
        {&r->ranks, "layers have two halves of different rank"},
        {&r->shapes, "layers have shapes that do not fit; is the adapter for another model?"},
        {&r->alphas, "alphas are wrong"},
    };
    bool ok = report_left_out(r);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        ok = at_listing_report(wrong[i].listing, d->log, AT_ERROR_INPUT, "%s: %d %s", d->path, wrong[i].listing->count,
                               wrong[i].what) && ok;
    if (ok && !d->count)
        ok = at_fail(d->log, AT_ERROR_INPUT, "%s: no tensor is named like one half of an adapter (.lora_A.weight, "
                     ".lora_down.weight, .lora.down.weight)", d->path);
    return ok;
}

static void choose_dialect(struct reading *r)
{
    if (r->dialects[AT_LORA_KOHYA_DIFFUSERS]) { // which text encoders cannot tell from the other
        r->dialects[AT_LORA_KOHYA_DIFFUSERS] += r->dialects[AT_LORA_KOHYA];
        r->dialects[AT_LORA_KOHYA] = 0;
    }
    int used = 0;
    for (int i = 0; i < AT_LORA_DIALECTS; i++) {
        used += r->dialects[i] > 0;
        if (r->dialects[i] > r->dialects[r->d->dialect])
            r->d->dialect = (enum at_lora_dialect)i;
    }
    r->d->mixed = used > 1;
}

static bool read_metadata(struct at_lora_data *d, const char *text)
{
    char *name = at_strf("%s: lora_adapter_metadata", d->path);
    struct at_json_doc *doc = name ? at_json_parse(d->log, name, text, strlen(text), NULL) : NULL;
    bool ok = doc;
    for (int c = 0; ok && c < AT_COMPONENTS; c++) {
        char prefix[32];
        snprintf(prefix, sizeof(prefix), "%s.", at_component_name((enum at_component)c));
        ok = at_lora_meta_read(at_json_root(doc), prefix, d, (enum at_component)c);
    }
    at_json_destroy(&doc);
    at_free(name);
    return ok;
}

// adapter_config.json beside peft's file, if it is there.
static bool read_config(struct at_lora_data *d)
{
    char *dir = at_path_dir(d->path), *path = dir ? at_path_join(dir, PEFT_CONFIG) : NULL;
    bool ok = path || at_fail_memory(d->log, strlen(d->path));
    if (ok && strcmp(at_path_name(d->path), PEFT_FILE) == 0 && at_file_exists(path)) {
        struct at_json_doc *doc = at_json_load(d->log, path);
        ok = doc;
        for (int c = 0; ok && c < AT_COMPONENTS; c++)
            ok = at_lora_meta_read(at_json_root(doc), "", d, (enum at_component)c);
        at_json_destroy(&doc);
    }
    at_free(dir);
    at_free(path);
    return ok;
}

static bool read_alphas(struct reading *r, bool on_disk)
{
    struct at_lora_data *d = r->d;
    bool own = false;
    for (int i = 0; i < d->count; i++) {
        if (d->list[i].rank)
            set_alpha(r, &d->list[i], r->alpha[i]);
        own = own || r->alpha[i];
    }
    const char *text = at_safetensors_metadata(d->file, "lora_adapter_metadata");
    if (own)
        return true;
    return text ? read_metadata(d, text) : !on_disk || read_config(d);
}

static bool read_file(struct at_lora_data *d, const struct at_lora_data_params *p, bool on_disk)
{
    struct reading r = {.d = d, .p = p};
    bool ok = take_all(&r);
    if (ok) {
        for (int i = 0; i < d->count; i++)
            check_layer(&r, &d->list[i]);
        choose_dialect(&r);
        ok = read_alphas(&r, on_disk);
        d->unknown = r.unknown.count;
        d->lacking = r.lacking.count;
        ok = report(&r) && ok;
    }
    at_free(r.alpha);
    return ok;
}

static struct at_lora_data *create(struct at_log *log, const char *path, const struct at_lora_data_params *p)
{
    struct at_lora_data *d = at_calloc(1, sizeof(*d));
    if (d && !(d->path = at_strdup(path)))
        at_lora_data_destroy(&d);
    if (!d) {
        at_fail_memory(log, sizeof(*d));
        return NULL;
    }
    d->log = log;
    d->layers = p->layers;
    return d;
}

char *at_lora_data_path(const char *path)
{
    if (!at_dir_exists(path))
        return at_strdup(path);
    char *diffusers = at_path_join(path, DIFFUSERS_FILE), *peft = at_path_join(path, PEFT_FILE);
    char *found = at_strdup(peft && at_file_exists(peft) && diffusers && !at_file_exists(diffusers) ? peft
                            : diffusers                                                          ? diffusers
                                                                                                 : path);
    at_free(diffusers);
    at_free(peft);
    return found;
}

struct at_lora_data *at_lora_data_open(struct at_log *log, const char *path, const struct at_lora_data_params *p)
{
    char *file = at_lora_data_path(path);
    struct at_lora_data *d = file ? create(log, file, p) : NULL;
    at_free(file);
    if (d && !((d->file = at_safetensors_open(log, d->path)) && read_file(d, p, true)))
        at_lora_data_destroy(&d);
    if (!d)
        at_fail_unsaid(log);
    return d;
}

struct at_lora_data *at_lora_data_parse(struct at_log *log, const char *name, const void *bytes, size_t size,
                                        const struct at_lora_data_params *p)
{
    struct at_lora_data *d = create(log, name, p);
    if (d && !((d->file = at_safetensors_parse(log, name, bytes, size)) && read_file(d, p, false)))
        at_lora_data_destroy(&d);
    if (!d)
        at_fail_unsaid(log);
    return d;
}

void at_lora_data_destroy(struct at_lora_data **data)
{
    struct at_lora_data *d = *data;
    if (!d)
        return;
    for (int i = 0; i < d->count; i++)
        at_free(d->list[i].id);
    at_free(d->list);
    at_index_finish(&d->index);
    at_safetensors_destroy(&d->file);
    at_free(d->path);
    at_free(d);
    *data = NULL;
}

bool at_lora_data_read(const struct at_lora_data *d, const struct at_st_tensor *half, float *out)
{
    if (!at_safetensors_to_f32(d->file, half, out))
        return false;
    for (uint64_t i = 0; i < half->elements; i++)
        if (!isfinite(out[i]))
            return at_fail(d->log, AT_ERROR_INPUT, "%s: %s: value %llu is not finite; the adapter is damaged", d->path,
                           half->name, (unsigned long long)i);
    return true;
}
