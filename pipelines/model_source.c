// SPDX-License-Identifier: Apache-2.0
#include "pipelines/model_source.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/sha256.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct at_model_source {
    struct at_log *log;
    char *path;
    struct at_json_doc *index;
};

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

static bool read_index(struct at_model_source *s)
{
    if (!at_dir_exists(s->path))
        return at_fail(s->log, AT_ERROR_INPUT, "%s: there is no such model folder", s->path);
    char *file = at_path_join(s->path, "model_index.json");
    s->index = file ? at_json_load(s->log, file) : NULL;
    at_free(file);
    return s->index;
}

struct at_model_source *at_source_open(struct at_log *log, const char *path)
{
    struct at_model_source *s = at_calloc(1, sizeof(*s));
    bool ok = s || at_fail_memory(log, sizeof(*s));
    if (ok) {
        s->log = log;
        s->path = path ? at_strdup(path) : at_model_embedded_path(log);
        ok = s->path && read_index(s);
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
    at_json_destroy(&s->index);
    at_free(s->path);
    at_free(s);
    *source = NULL;
}

const char *at_source_path(const struct at_model_source *s)
{
    return s->path;
}

struct at_json at_source_index(const struct at_model_source *s)
{
    return at_json_root(s->index);
}

const char *at_source_class(const struct at_model_source *s)
{
    const char *class;
    return at_json_str(at_source_index(s), "_class_name", "StableDiffusionPipeline", &class) ? class : NULL;
}

struct at_json_doc *at_source_config(const struct at_model_source *s, const char *component)
{
    char *file = at_strf("%s/%s/config.json", s->path, component);
    struct at_json_doc *doc = file ? at_json_load(s->log, file) : NULL;
    at_free(file);
    return doc;
}

struct at_safetensors *at_source_weights(const struct at_model_source *s, const char *component)
{
    const char *base = strncmp(component, "text_encoder", 12) == 0 ? "model" : "diffusion_pytorch_model";
    char *dir = at_path_join(s->path, component);
    struct at_safetensors *weights = dir ? at_weights_open(s->log, dir, base, NULL) : NULL;
    at_free(dir);
    return weights;
}

struct at_clip_tokenizer *at_source_tokenizer(const struct at_model_source *s, const char *component)
{
    char *dir = at_path_join(s->path, component);
    struct at_clip_tokenizer *tokenizer = dir ? at_clip_tokenizer_load(dir, s->log) : NULL;
    at_free(dir);
    return tokenizer;
}

struct at_schedule *at_source_schedule(const struct at_model_source *s)
{
    char *file = at_strf("%s/scheduler/scheduler_config.json", s->path);
    struct at_schedule *schedule = file ? at_schedule_load(file, s->log) : NULL;
    at_free(file);
    return schedule;
}

static bool is_weights(const char *name)
{
    size_t n = strlen(name);
    return n > 12 && strcmp(name + n - 12, ".safetensors") == 0;
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
        char *path = is_weights(names[i]) ? at_path_join(dir, names[i]) : NULL, one[65];
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

bool at_source_hash(const struct at_model_source *s, const char *component, char text[65])
{
    char *dir = at_path_join(s->path, component);
    char *whole = dir ? at_path_join(dir, "diffusion_pytorch_model.safetensors") : NULL;
    bool ok = whole || at_fail_memory(s->log, strlen(s->path));
    if (ok)
        ok = at_file_exists(whole) ? at_sha256_file(s->log, whole, text) : hash_shards(s->log, dir, text);
    at_free(whole);
    at_free(dir);
    return ok;
}
