// SPDX-License-Identifier: Apache-2.0
#include "pipelines/source/source_folder.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/sha256.h"
#include "pipelines/source/source_names.h"
#include "pipelines/source/source_state.h"

#include <string.h>

static const char *base_of(const char *component)
{
    return strncmp(component, "text_encoder", 12) == 0 ? "model" : "diffusion_pytorch_model";
}

static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && strcmp(name + n - m, end) == 0;
}

// No component has it: a slip, not a model that keeps some of its parts in one precision only.
static bool check_variant(struct at_log *log, const char *path, const char *variant)
{
    static const char *const components[] = {"unet", "vae", "text_encoder", "text_encoder_2"};
    bool found = false;
    for (size_t i = 0; !found && i < sizeof(components) / sizeof(*components); i++) {
        char *dir = at_path_join(path, components[i]);
        found = dir && at_weights_exist(dir, base_of(components[i]), variant);
        at_free(dir);
    }
    char *unet = found ? NULL : at_path_join(path, "unet");
    if (unet)
        (void)at_weights_missing(log, unet, base_of("unet"), variant);
    at_free(unet);
    return found;
}

// A folder of the Hugging Face cache holds the model in snapshots/HASH. NULL: it does not; freed with at_free.
static char *snapshot_of(const char *path)
{
    char **names, *snapshots = at_path_join(path, "snapshots"), *found = NULL;
    size_t count;
    if (snapshots && at_dir_exists(snapshots) && at_dir_list(NULL, snapshots, &names, &count)) {
        for (size_t i = 0; i < count && !found; i++) {
            char *file = at_strf("%s/%s/model_index.json", snapshots, names[i]);
            if (file && at_file_exists(file))
                found = at_path_join(snapshots, names[i]);
            at_free(file);
        }
        at_names_free(&names, count);
    }
    at_free(snapshots);
    return found;
}

// A folder that is no model: what may have been meant instead.
static bool fail_index(struct at_log *log, const char *path)
{
    char **names, *one = NULL, *snapshot = snapshot_of(path);
    size_t count;
    if (snapshot) {
        at_fail(log, AT_ERROR_INPUT, "%s: this is a cache; the model in it is %s", path, snapshot);
        at_free(snapshot);
        return false;
    }
    if (!at_dir_list(log, path, &names, &count))
        return false;
    for (size_t i = 0; i < count && !one; i++)
        if (ends(names[i], ".safetensors"))
            one = names[i];
    if (one)
        at_fail(log, AT_ERROR_INPUT, "%s/model_index.json: there is no such file, so that is no model folder; if "
                "%s/%s is a whole checkpoint, give that file", path, path, one);
    else
        at_fail(log, AT_ERROR_INPUT, "%s/model_index.json: there is no such file, so that is no model folder", path);
    at_names_free(&names, count);
    return false;
}

struct at_json_doc *at_folder_index(struct at_log *log, const char *path, const struct at_source_options *options)
{
    char *file = at_path_join(path, "model_index.json");
    struct at_json_doc *doc = NULL;
    if (file && (at_file_exists(file) || fail_index(log, path)))
        doc = at_json_load(log, file);
    at_free(file);
    if (doc && options->variant && !check_variant(log, path, options->variant))
        at_json_destroy(&doc);
    return doc;
}

static const char *class_of(const struct at_model_source *s, const char *component)
{
    struct at_json v = at_json_get(at_source_index(s), component), class = at_json_at(v, 1);
    const char *name;
    return at_json_is_string(class) && at_json_as_str(class, &name) ? name : NULL;
}

static bool check_class(struct at_json v, const char *component, const char *class)
{
    static const struct {
        const char *component, *class, *other;
    } known[] = {{"unet", "UNet2DConditionModel", NULL},
                 {"vae", "AutoencoderKL", "AutoencoderTiny"},
                 {"tokenizer", "CLIPTokenizer", "CLIPTokenizerFast"},
                 {"text_encoder", "CLIPTextModel", "CLIPTextModelWithProjection"}};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        const char *other = known[i].other;
        if (strncmp(component, known[i].component, strlen(known[i].component)) == 0)
            return strcmp(class, known[i].class) == 0 || (other && strcmp(class, other) == 0) ||
                   at_json_fail(v, "\"%s\" is not supported, only %s%s%s", class, known[i].class, other ? " and " : "",
                                other ? other : "");
    }
    return true;
}

// What model_index.json says of a component must be something that can be read. Its absence says nothing.
static bool check_component(const struct at_model_source *s, const char *component)
{
    struct at_json v = at_json_get(at_source_index(s), component);
    if (!v.item)
        return true;
    if (!at_json_present(v) || (at_json_is_array(v) && !at_json_present(at_json_at(v, 1))))
        return at_json_fail(v, "is empty: this model comes without its %s, which is needed here", component);
    const char *class = class_of(s, component);
    return class ? check_class(v, component, class)
                 : at_json_fail(v, "expected the library and the class, as [\"diffusers\", \"UNet2DConditionModel\"]");
}

// The component's folder, which is there; the caller frees it.
static char *folder_of(const struct at_model_source *s, const char *component)
{
    if (!check_component(s, component))
        return NULL;
    char *dir = at_path_join(s->path, component);
    if (!dir)
        at_fail_memory(s->log, strlen(component));
    else if (!at_dir_exists(dir)) {
        at_fail(s->log, AT_ERROR_INPUT, "%s: there is no such folder; is the model complete?", dir);
        at_free(dir);
        dir = NULL;
    }
    return dir;
}

struct at_json_doc *at_folder_config(const struct at_model_source *s, const char *component)
{
    char *dir = folder_of(s, component), *file = dir ? at_path_join(dir, "config.json") : NULL;
    struct at_json_doc *doc = file ? at_json_load(s->log, file) : NULL;
    at_free(dir);
    at_free(file);
    return doc;
}

// `all` without what is of no use, and with the names of today; `all` itself where nothing is to be changed.
static struct at_safetensors *tidy(const struct at_model_source *s, const char *component, struct at_safetensors *all)
{
    const char *class = class_of(s, component);
    bool projected = !class || strcmp(class, "CLIPTextModel") != 0;
    size_t count = at_safetensors_count(all), changed = 0;
    for (size_t i = 0; i < count; i++)
        changed += at_names_tidy(component, projected, at_safetensors_at(all, i), &(struct at_st_name){0}) != AT_NAME_KEPT;
    if (!changed)
        return all;
    struct at_safetensors *view = at_safetensors_view(all);
    bool ok = view;
    for (size_t i = 0; ok && i < count; i++) {
        struct at_st_name name;
        struct at_st_pick pick = {.from = at_safetensors_at(all, i), .name = name.text};
        enum at_name_kind kind = at_names_tidy(component, projected, pick.from, &name);
        if (kind == AT_NAME_KEPT)
            pick.name = NULL;
        if (kind == AT_NAME_RENAMED)
            pick.rank = name.rank;
        ok = kind == AT_NAME_IGNORED || at_safetensors_view_add(view, &pick);
    }
    ok = ok && at_safetensors_view_end(view);
    at_safetensors_destroy(&all);
    if (!ok)
        at_safetensors_destroy(&view);
    return view;
}

struct at_safetensors *at_folder_weights(const struct at_model_source *s, const char *component)
{
    const char *base = base_of(component), *variant = s->options.variant;
    char *dir = folder_of(s, component);
    if (!dir)
        return NULL;
    if (variant && !at_weights_exist(dir, base, variant) && at_weights_exist(dir, base, "")) {
        at_warn(s->log, "%s: there is no variant %s of these weights; the plain ones are read", dir, variant);
        variant = NULL;
    }
    struct at_safetensors *all = at_weights_open(s->log, dir, base, variant);
    at_free(dir);
    return all ? tidy(s, component, all) : NULL;
}

bool at_folder_has_weights(const struct at_model_source *s, const char *component)
{
    const char *base = base_of(component), *variant = s->options.variant;
    char *dir = at_path_join(s->path, component);
    bool has = dir && (at_weights_exist(dir, base, "") || at_weights_exist(dir, base, variant ? variant : "fp16"));
    at_free(dir);
    return has;
}

struct at_clip_tokenizer *at_folder_tokenizer(const struct at_model_source *s, const char *component)
{
    const char *given = s->options.tokenizer;
    if (given)
        return at_dir_exists(given) ? at_clip_tokenizer_load(given, s->log)
                                    : at_clip_tokenizer_load_clip(given, "<|endoftext|>", s->log);
    char *dir = folder_of(s, component);
    struct at_clip_tokenizer *tokenizer = dir ? at_clip_tokenizer_load(dir, s->log) : NULL;
    at_free(dir);
    return tokenizer;
}

struct at_schedule *at_folder_schedule(const struct at_model_source *s)
{
    char *dir = folder_of(s, "scheduler"), *file = dir ? at_path_join(dir, "scheduler_config.json") : NULL;
    struct at_schedule *schedule = file ? at_schedule_load(file, s->log) : NULL;
    at_free(dir);
    at_free(file);
    return schedule;
}

static bool hash_shards(struct at_log *log, const char *dir, char text[65])
{
    char **names;
    size_t count;
    struct at_sha256 all;
    uint8_t digest[32];
    if (!at_dir_list(log, dir, &names, &count))
        return false;
    bool ok = true;
    at_sha256_init(&all);
    for (size_t i = 0; ok && i < count; i++) {
        char *path = ends(names[i], ".safetensors") ? at_path_join(dir, names[i]) : NULL, one[65];
        ok = !path || at_sha256_file(log, path, one);
        if (ok && path)
            at_sha256_add(&all, one, 64);
        at_free(path);
    }
    at_sha256_finish(&all, digest);
    at_sha256_hex(digest, text);
    at_names_free(&names, count);
    return ok;
}

bool at_folder_hash(const struct at_model_source *s, const char *component, char text[65])
{
    const char *base = base_of(component), *variant = s->options.variant;
    const char *dot = variant ? "." : "";
    char *dir = at_path_join(s->path, component);
    char *whole = dir ? at_strf("%s/%s%s%s.safetensors", dir, base, dot, variant ? variant : "") : NULL;
    bool ok = whole || at_fail_memory(s->log, strlen(s->path));
    if (ok)
        ok = at_file_exists(whole) ? at_sha256_file(s->log, whole, text) : hash_shards(s->log, dir, text);
    at_free(whole);
    at_free(dir);
    return ok;
}
