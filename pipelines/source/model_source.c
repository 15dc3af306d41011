// SPDX-License-Identifier: Apache-2.0
#include "pipelines/source/model_source.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/sha256.h"
#include "pipelines/source/single_file.h"
#include "pipelines/source/source_folder.h"
#include "pipelines/source/source_state.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *embedded_in(const char *dir)
{
    char *path = at_path_join(dir, "model"), *index = path ? at_path_join(path, "model_index.json") : NULL;
    if (index && !at_file_exists(index)) {
        at_free(path);
        path = NULL;
    }
    at_free(index);
    return path;
}

char *at_model_embedded_path(struct at_log *log)
{
    const char *env = getenv("ATTUNE_DATA");
    char *found = env ? embedded_in(env) : NULL;
    if (env && env[0] && !found) { // another model than the one meant would be used without a word
        at_fail(log, AT_ERROR_INPUT, "ATTUNE_DATA: %s has no folder model with a model_index.json; correct it, or "
                "unset it to use what is beside the program", env);
        return NULL;
    }
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    static const char *const beside[] = {"../datasets/emoji", "../../datasets/emoji", "../share/attune/emoji"};
    for (size_t i = 0; !found && n > 0 && i < sizeof(beside) / sizeof(*beside); i++) {
        exe[n] = 0;
        char *dir = at_path_dir(exe), *data = dir ? at_path_join(dir, beside[i]) : NULL;
        found = data ? embedded_in(data) : NULL;
        at_free(dir);
        at_free(data);
    }
    if (!found)
        at_fail(log, AT_ERROR_INPUT, "the embedded model is not beside the program: give a model folder with -m, or its "
                                     "parent folder in ATTUNE_DATA");
    return found;
}

// By the first bytes: the end of a name says little.
static bool is_safetensors(struct at_log *log, const char *path)
{
    struct at_map map;
    if (!at_file_map(log, path, &map))
        return false;
    const char *what = at_st_foreign(map.data, map.size);
    if (!what && (map.size < 9 || map.data[8] != '{'))
        what = "no .safetensors file and no model folder";
    at_file_unmap(&map);
    return !what || at_fail(log, AT_ERROR_INPUT, "%s: this is %s", path, what);
}

// As models are named on the Hugging Face hub: "stabilityai/stable-diffusion-2-1".
static bool is_hub_name(const char *path)
{
    const char *slash = strchr(path, '/');
    return slash && slash != path && path[0] != '.' && path[0] != '~' && slash[1] && !strchr(slash + 1, '/');
}

static bool open_path(struct at_model_source *s)
{
    if (at_dir_exists(s->path))
        return (s->index = at_folder_index(s->log, s->path, &s->options));
    if (!at_file_exists(s->path))
        return at_fail(s->log, AT_ERROR_INPUT, "%s: there is no such model folder or file%s", s->path, is_hub_name(s->path)
                       ? "; nothing is downloaded here: fetch the model and give its folder" : "");
    if (!is_safetensors(s->log, s->path) || !(s->single = at_single_open(s->log, s->path, &s->options)))
        return false;
    if (s->options.variant)
        at_warn(s->log, "%s: --variant is of model folders; it means nothing for this file", s->path);
    return true;
}

struct at_model_source *at_source_open(struct at_log *log, const char *path, const struct at_source_options *options)
{
    struct at_model_source *s = at_calloc(1, sizeof(*s));
    bool ok = s || at_fail_memory(log, sizeof(*s));
    if (ok) {
        s->log = log;
        s->options = options ? *options : (struct at_source_options){0};
        s->path = path ? at_strdup(path) : at_model_embedded_path(log);
        ok = s->path && open_path(s);
    }
    if (!ok) {
        at_fail_unsaid(log);
        at_source_destroy(&s);
    }
    return s;
}

void at_source_destroy(struct at_model_source **source)
{
    struct at_model_source *s = *source;
    if (!s)
        return;
    at_single_destroy(&s->single);
    at_json_destroy(&s->index);
    at_free(s->path);
    at_free(s);
    *source = NULL;
}

const char *at_source_path(const struct at_model_source *s)
{
    return s->path;
}

bool at_source_is_folder(const struct at_model_source *s)
{
    return !s->single;
}

const struct at_source_options *at_source_options(const struct at_model_source *s)
{
    return &s->options;
}

struct at_json at_source_index(const struct at_model_source *s)
{
    return s->single ? at_single_index_root(s->single) : at_json_root(s->index);
}

const char *at_source_class(const struct at_model_source *s)
{
    const char *class;
    return at_json_str(at_source_index(s), "_class_name", "StableDiffusionPipeline", &class) ? class : NULL;
}

struct at_json_doc *at_source_config(const struct at_model_source *s, const char *component)
{
    return s->single ? at_single_component_config(s->single, component) : at_folder_config(s, component);
}

struct at_safetensors *at_source_weights(const struct at_model_source *s, const char *component)
{
    return s->single ? at_single_component_weights(s->single, component) : at_folder_weights(s, component);
}

struct at_clip_tokenizer *at_source_tokenizer(const struct at_model_source *s, const char *component)
{
    return s->single ? at_single_tokenizer(s->single, component) : at_folder_tokenizer(s, component);
}

struct at_schedule *at_source_schedule(const struct at_model_source *s)
{
    struct at_schedule *schedule = s->single ? at_single_noise_schedule(s->single) : at_folder_schedule(s);
    if (schedule && s->options.prediction)
        schedule->config.prediction = (enum at_prediction)(s->options.prediction - 1);
    return schedule;
}

bool at_source_hash(const struct at_model_source *s, const char *component, char text[65])
{
    return s->single ? at_sha256_file(s->log, s->path, text) : at_folder_hash(s, component, text);
}
