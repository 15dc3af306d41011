// SPDX-License-Identifier: Apache-2.0
#include "pipelines/source/single_file.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "pipelines/source/single_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTED 12 // names in one message

struct at_single {
    struct at_log *log;
    char *path;
    const char *tokenizer; // --tokenizer, or NULL
    enum at_family family;
    struct at_safetensors *parts[AT_SINGLE_PARTS]; // views; NULL: not in this family
    struct at_single_prediction prediction;
    struct at_json_doc *index;
};

static const char *const components[AT_SINGLE_PARTS] = {"unet", "vae", "text_encoder", "text_encoder_2"};

// Weights that cannot be used are told once for the file, not by the first tensor that is met.
static bool check_types(struct at_log *log, const char *path, const struct at_safetensors *file)
{
    size_t count = 0;
    const struct at_st_tensor *one = NULL;
    for (size_t i = 0; i < at_safetensors_count(file); i++) {
        const struct at_st_tensor *t = at_safetensors_at(file, i);
        bool narrow = at_st_dtype_bits(t->dtype) <= 8 && t->rank > 1;
        count += narrow;
        one = narrow && !one ? t : one;
    }
    return !one || at_fail(log, AT_ERROR_INPUT, "%s: %zu weights are stored as %s, the first is \"%.100s\"; only F32, F16, "
                           "BF16 and F64 are read, so take the file in f16", path, count, at_st_dtype_name(one->dtype),
                           one->name);
}

static bool add(struct at_log *log, struct at_safetensors *view, const struct at_st_tensor *t, const struct at_single_place *place)
{
    struct at_st_pick pick = {.from = t, .name = place->name, .rank = place->rank,
                              .transpose = place->kind == AT_SINGLE_TRANSPOSED};
    if (place->kind != AT_SINGLE_QKV)
        return at_safetensors_view_add(view, &pick);
    char name[sizeof(place->name)];
    const char *letter = strchr(place->name, '%');
    pick.name = name;
    pick.rows = t->rank ? t->shape[0] / 3 : 0;
    bool ok = pick.rows && t->shape[0] % 3 == 0;
    if (!ok)
        at_fail(log, AT_ERROR_INPUT, "%s: tensor \"%.200s\" should hold queries, keys and values, but its rows are no "
                "multiple of 3", t->file, t->name);
    for (int i = 0; ok && i < 3; i++) {
        pick.first = (uint64_t)i * pick.rows;
        snprintf(name, sizeof(name), "%.*s%c%s", (int)(letter - place->name), place->name, "qkv"[i], letter + 2);
        ok = at_safetensors_view_add(view, &pick);
    }
    return ok;
}

struct strangers {
    char text[1200];
    size_t used, count;
};

static void note(struct strangers *s, const char *name)
{
    if (s->count++ < LISTED && s->used < sizeof(s->text))
        s->used += (size_t)snprintf(s->text + s->used, sizeof(s->text) - s->used, "\n  %.200s", name);
}

static bool report(const struct at_single *s, const struct strangers *n, bool allowed)
{
    const char *more = n->count > LISTED ? "\n  ..." : "";
    if (!n->count)
        return true;
    if (!allowed)
        return at_fail(s->log, AT_ERROR_INPUT, "%s: %zu tensors are no part of %s:%s%s\n--allow-unexpected reads the rest",
                       s->path, n->count, at_family_name(s->family), n->text, more);
    at_warn(s->log, "%s: %zu tensors are no part of %s and are not used:%s%s", s->path, n->count,
            at_family_name(s->family), n->text, more);
    return true;
}

// Shares the tensors out to the components.
static bool divide(struct at_single *s, struct at_safetensors *file, bool allowed)
{
    struct at_single_layout layout;
    struct at_single_place place;
    struct strangers strangers = {0};
    int parts = s->family == AT_FAMILY_SDXL ? AT_SINGLE_PARTS : AT_SINGLE_TEXT_2;
    bool ok = true;
    at_single_layout_read(file, s->family, &layout);
    for (int i = 0; ok && i < parts; i++)
        ok = (s->parts[i] = at_safetensors_view(file));
    for (size_t i = 0; ok && i < at_safetensors_count(file); i++) {
        const struct at_st_tensor *t = at_safetensors_at(file, i);
        at_single_place(&layout, t->name, &place);
        if (place.kind == AT_SINGLE_UNKNOWN)
            note(&strangers, t->name);
        else if (place.kind != AT_SINGLE_IGNORED)
            ok = add(s->log, s->parts[place.part], t, &place);
    }
    for (int i = 0; ok && i < parts; i++)
        ok = at_safetensors_view_end(s->parts[i]);
    return ok && report(s, &strangers, allowed);
}

// What is assumed that the file does not say.
static void tell(const struct at_single *s)
{
    const struct at_single_prediction *p = &s->prediction;
    if (!p->reason)
        return;
    at_info(s->log, "%s: %s, predicts %s by %s; --prediction %s if pictures are noise", s->path,
            at_family_name(s->family), strcmp(p->type, "epsilon") == 0 ? "noise (epsilon)" : "v", p->reason,
            strcmp(p->type, "epsilon") == 0 ? "v_prediction" : "epsilon");
}

// Destroys the file, whose views stay.
static struct at_single *create(struct at_log *log, const char *path, struct at_safetensors *file,
                                const struct at_source_options *options)
{
    struct at_single *s = file ? at_calloc(1, sizeof(*s)) : NULL;
    bool ok = s && (s->path = at_strdup(path));
    if (file && !ok)
        at_fail_memory(log, sizeof(*s));
    if (ok) {
        s->log = log;
        s->tokenizer = options->tokenizer;
        ok = at_single_family_find(log, path, file, &s->family) && check_types(log, path, file) &&
             divide(s, file, options->allow_unexpected) && at_single_prediction_find(file, s->family, &s->prediction) &&
             (s->index = at_single_index(log, path, s->family));
    }
    if (ok && options->prediction)
        s->prediction.type = at_prediction_names[options->prediction - 1];
    else if (ok)
        tell(s);
    else
        at_single_destroy(&s);
    at_safetensors_destroy(&file);
    return s;
}

struct at_single *at_single_open(struct at_log *log, const char *path, const struct at_source_options *options)
{
    return create(log, path, at_safetensors_open(log, path), options);
}

struct at_single *at_single_parse(struct at_log *log, const char *path, const void *bytes, size_t size,
                                  const struct at_source_options *options)
{
    return create(log, path, at_safetensors_parse(log, path, bytes, size), options);
}

void at_single_destroy(struct at_single **single)
{
    struct at_single *s = *single;
    if (!s)
        return;
    for (int i = 0; i < AT_SINGLE_PARTS; i++)
        at_safetensors_destroy(&s->parts[i]);
    at_json_destroy(&s->index);
    at_free(s->path);
    at_free(s);
    *single = NULL;
}

struct at_json at_single_index_root(const struct at_single *s)
{
    return at_json_root(s->index);
}

enum at_family at_single_family(const struct at_single *s)
{
    return s->family;
}

// The component's number; -1 (logged) if this family has none of that name.
static int find_part(const struct at_single *s, const char *component)
{
    for (int i = 0; i < AT_SINGLE_PARTS; i++)
        if (strcmp(components[i], component) == 0 && s->parts[i])
            return i;
    at_fail(s->log, AT_ERROR_INPUT, "%s: %s has no %s", s->path, at_family_name(s->family), component);
    return -1;
}

// How much larger pictures are than their latents.
static int vae_factor(const struct at_single *s)
{
    char name[80];
    int level = 0;
    for (; level < 8; level++) {
        snprintf(name, sizeof(name), "encoder.down_blocks.%d.downsamplers.0.conv.weight", level);
        if (!at_safetensors_find(s->parts[AT_SINGLE_VAE], name))
            break;
    }
    return 1 << level;
}

struct at_json_doc *at_single_component_config(const struct at_single *s, const char *component)
{
    int part = find_part(s, component);
    if (part < 0)
        return NULL;
    const struct at_safetensors *second = s->parts[AT_SINGLE_TEXT_2];
    const struct at_st_tensor *projection = second ? at_safetensors_find(second, "text_projection.weight") : NULL;
    char *name = at_strf("%s (%s)", s->path, component);
    struct at_single_config_params p = {
        .name = name, .family = s->family, .part = (enum at_single_part)part, .weights = s->parts[part],
        .factor = vae_factor(s), .v = strcmp(s->prediction.type, "v_prediction") == 0,
        .projection = projection && projection->rank == 2 && projection->shape[0] < (1 << 24)
                          ? (int)projection->shape[0] : 0};
    struct at_json_doc *doc = name ? at_single_config(s->log, &p) : NULL;
    at_free(name);
    return doc;
}

struct at_safetensors *at_single_component_weights(const struct at_single *s, const char *component)
{
    int part = find_part(s, component);
    struct at_safetensors *view = part < 0 ? NULL : at_safetensors_view(s->parts[part]);
    bool ok = view;
    for (size_t i = 0; ok && i < at_safetensors_count(s->parts[part]); i++)
        ok = at_safetensors_view_add(view, &(struct at_st_pick){.from = at_safetensors_at(s->parts[part], i)});
    if (!ok || !at_safetensors_view_end(view))
        at_safetensors_destroy(&view);
    return view;
}

struct at_json_doc *at_single_schedule_config(const struct at_single *s)
{
    char *name = at_strf("%s (scheduler)", s->path);
    struct at_json_doc *doc = name ? at_single_schedule(s->log, name, s->family, &s->prediction) : NULL;
    at_free(name);
    return doc;
}

struct at_schedule *at_single_noise_schedule(const struct at_single *s)
{
    struct at_json_doc *doc = at_single_schedule_config(s);
    char *text = doc ? at_json_text(doc, false) : NULL;
    struct at_schedule *schedule = text ? at_schedule_parse(text, strlen(text), s->path, s->log) : NULL;
    at_free(text);
    at_json_destroy(&doc);
    return schedule;
}

// Where the tokenizer is; the caller frees it. NULL (logged) if it is nowhere.
static char *find_tokenizer(const struct at_single *s)
{
    const char *given = getenv("ATTUNE_TOKENIZER");
    if (s->tokenizer)
        return at_strdup(s->tokenizer);
    char *dir = at_path_dir(s->path), *beside = dir ? at_path_join(dir, "tokenizer") : NULL;
    at_free(dir);
    if (beside && at_dir_exists(beside))
        return beside;
    if (given && given[0]) {
        at_free(beside);
        return at_strdup(given);
    }
    at_fail(s->log, AT_ERROR_INPUT, "%s: a single file has no tokenizer, and there is no folder %s; put vocab.json and "
            "merges.txt of openai/clip-vit-large-patch14 there (or bpe_simple_vocab_16e6.txt.gz of openai/CLIP), or name "
            "their folder with --tokenizer or in ATTUNE_TOKENIZER", s->path, beside ? beside : "tokenizer");
    at_free(beside);
    return NULL;
}

struct at_clip_tokenizer *at_single_tokenizer(const struct at_single *s, const char *component)
{
    bool second = strcmp(component, "tokenizer_2") == 0;
    char *path = find_tokenizer(s);
    // OpenCLIP was trained with texts padded by the id 0.
    const char *pad = second || s->family == AT_FAMILY_SD2 ? "!" : "<|endoftext|>";
    struct at_clip_tokenizer *t = path ? at_clip_tokenizer_load_clip(path, pad, s->log) : NULL;
    at_free(path);
    return t;
}
