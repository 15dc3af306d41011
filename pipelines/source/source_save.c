// SPDX-License-Identifier: Apache-2.0
// Writing what a model consists of as the files of a diffusers folder.
#include "core/base/alloc.h"
#include "core/io/file.h"
#include "pipelines/source/single_file.h"
#include "pipelines/source/source_folder.h"
#include "pipelines/source/source_state.h"

#include <string.h>

// Makes the folder of a file.
static bool make_place(struct at_log *log, const char *target)
{
    char *folder = at_path_dir(target);
    bool ok = folder && at_dir_make(log, folder);
    at_free(folder);
    return ok;
}

// All tensors as they are, under the names they have in diffusers.
static bool save_weights(const struct at_model_source *s, const char *component, const char *target)
{
    struct at_safetensors *st = at_source_weights(s, component);
    size_t n = st ? at_safetensors_count(st) : 0;
    struct at_st_item *items = st ? at_calloc(n, sizeof(*items)) : NULL;
    struct at_st_text format = {"format", "pt"};
    for (size_t i = 0; items && i < n; i++) {
        const struct at_st_tensor *t = at_safetensors_at(st, i);
        items[i] = (struct at_st_item){.name = t->name, .dtype = t->dtype, .rank = t->rank, .shape = t->shape, .raw = t->data};
    }
    if (st && !items)
        at_fail_memory(s->log, n * sizeof(*items));
    bool ok = items && make_place(s->log, target) &&
              at_safetensors_write(s->log, target, &(struct at_st_content){.items = items, .count = n,
                                                                                  .metadata = &format, .metadata_count = 1});
    at_free(items);
    at_safetensors_destroy(&st);
    return ok;
}

static bool save_json(struct at_log *log, struct at_json_doc *doc, const char *target)
{
    bool ok = doc && make_place(log, target) && at_json_save(doc, target, true);
    at_json_destroy(&doc);
    return ok;
}

static bool save_tokenizer(const struct at_model_source *s, const char *component, const char *folder)
{
    struct at_clip_tokenizer *t = at_source_tokenizer(s, component);
    bool ok = t && at_clip_tokenizer_save(t, folder);
    at_clip_tokenizer_destroy(&t);
    return ok;
}

// The fields of an object, with another prediction_type if there is one.
static bool save_fields(const struct at_model_source *s, struct at_json object, const char *prediction, const char *target)
{
    struct at_json_doc *doc = at_json_create(s->log, false);
    for (struct at_json v = at_json_first(object); doc && v.item; v = at_json_next(v))
        if (!prediction || strcmp(at_json_key(v), "prediction_type") != 0)
            at_json_put_copy(at_json_root(doc), at_json_key(v), v);
    if (doc && prediction)
        at_json_put_str(at_json_root(doc), "prediction_type", prediction);
    return save_json(s->log, doc, target);
}

// Of a model that is no folder. `file` is the part of the name behind the component.
static bool make_file(const struct at_model_source *s, const char *component, const char *file, const char *target)
{
    if (!component[0])
        return save_fields(s, at_source_index(s), NULL, target);
    if (strcmp(component, "scheduler") == 0)
        return save_json(s->log, at_single_schedule_config(s->single), target);
    return strcmp(file, "config.json") == 0 ? save_json(s->log, at_source_config(s, component), target)
                                            : save_weights(s, component, target);
}

// With the prediction that was asked for.
static bool take_schedule(const struct at_model_source *s, const char *from, const char *target)
{
    struct at_json_doc *doc = at_json_load(s->log, from);
    bool ok = doc && save_fields(s, at_json_root(doc), at_prediction_names[s->options.prediction - 1], target);
    at_json_destroy(&doc);
    return ok;
}

// Of a folder: a copy, or of weights that have another name there, what they are.
static bool take_file(const struct at_model_source *s, const char *component, const char *name, const char *target)
{
    char *from = at_path_join(s->path, name);
    size_t n = strlen(name);
    bool weights = n > 12 && strcmp(name + n - 12, ".safetensors") == 0, ok = from;
    bool as_it_is = weights ? !s->options.variant : !s->options.prediction || strcmp(component, "scheduler") != 0;
    if (ok && as_it_is && at_file_exists(from))
        ok = make_place(s->log, target) && at_file_copy(s->log, from, target);
    else if (ok && weights && at_folder_has_weights(s, component))
        ok = save_weights(s, component, target);
    else if (ok && s->options.prediction && strcmp(component, "scheduler") == 0 && at_file_exists(from))
        ok = take_schedule(s, from, target);
    at_free(from);
    return ok || at_fail_unsaid(s->log);
}

bool at_source_save_file(const struct at_model_source *s, const char *name, const char *to)
{
    char *target = at_path_join(to, name), *folder = target ? at_path_dir(target) : NULL;
    const char *slash = strchr(name, '/');
    char *component = at_strf("%.*s", slash ? (int)(slash - name) : 0, name);
    const char *file = slash ? slash + 1 : name;
    bool ok = folder && component, has = ok && (!slash || at_json_present(at_json_get(at_source_index(s), component)));
    bool made = s->single || s->options.tokenizer; // of a tokenizer: not in the folder
    if (ok && made && strncmp(component, "tokenizer", 9) == 0)
        ok = !has || strcmp(file, "vocab.json") != 0 || save_tokenizer(s, component, folder);
    else if (ok && s->single)
        ok = !has || make_file(s, component, file, target);
    else if (ok)
        ok = take_file(s, component, name, target);
    at_free(target);
    at_free(folder);
    at_free(component);
    return ok || at_fail_unsaid(s->log);
}

bool at_source_save_component(const struct at_model_source *s, const char *component, const char *to)
{
    bool text = strncmp(component, "text_encoder", 12) == 0, ok = true;
    const char *files[2] = {"config.json", text ? "model.safetensors" : "diffusion_pytorch_model.safetensors"};
    if (strcmp(component, "scheduler") == 0)
        files[0] = "scheduler_config.json", files[1] = NULL;
    if (strncmp(component, "tokenizer", 9) == 0)
        files[0] = "vocab.json", files[1] = NULL;
    for (int i = 0; ok && i < 2 && files[i]; i++) {
        char *name = at_path_join(component, files[i]);
        ok = name ? at_source_save_file(s, name, to) : at_fail_memory(s->log, strlen(component));
        at_free(name);
    }
    return ok;
}
