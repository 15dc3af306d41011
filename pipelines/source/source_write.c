// SPDX-License-Identifier: Apache-2.0
#include "pipelines/source/source_write.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "pipelines/source/source_out.h"
#include "pipelines/source/source_state.h"

#include <string.h>

#define PARTS 4

// The parts of a folder that hold weights.
static const struct {
    const char *name, *base;
} parts[PARTS] = {{"unet", "diffusion_pytorch_model"},
                  {"text_encoder", "model"},
                  {"text_encoder_2", "model"},
                  {"vae", "diffusion_pytorch_model"}};

struct folder {
    const struct at_model_source *source;
    const struct at_source_write_params *p;
    struct at_log *log;
    char *to; // its temporary name
    struct at_safetensors *weights[PARTS];
    struct at_outs outs[PARTS];
};

bool at_source_write_is_file(const char *path)
{
    size_t n = strlen(path);
    return n > 12 && strcmp(path + n - 12, ".safetensors") == 0;
}

bool at_source_write_check(struct at_log *log, const struct at_source_write_params *p)
{
    char **names = NULL;
    size_t count = 0;
    bool dir = at_dir_exists(p->out), file = at_file_exists(p->out);
    if (at_source_write_is_file(p->out) && dir)
        return at_fail(log, AT_ERROR_INPUT, "%s: is a folder; give the name of a file", p->out);
    if (at_source_write_is_file(p->out))
        return !file || p->replace ||
               at_fail(log, AT_ERROR_INPUT, "%s is there already; --force replaces it", p->out);
    if (file)
        return at_fail(log, AT_ERROR_INPUT, "%s: is a file; give the folder to write, or the name of a file that ends in "
                       ".safetensors", p->out);
    if (dir && !at_dir_list(log, p->out, &names, &count))
        return false;
    at_names_free(&names, count);
    return !count ||
           at_fail(log, AT_ERROR_INPUT, "%s: is not empty; give a folder that is not there yet", p->out);
}

// A file, or a folder with all that is in it.
static bool copy(struct at_log *log, const char *from, const char *to)
{
    if (!at_dir_exists(from))
        return at_file_copy(log, from, to);
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

// What is not read here stays as it is; a tokenizer that was given takes the place of the model's.
static bool write_other(struct folder *f, const char *name)
{
    bool made = strncmp(name, "tokenizer", 9) == 0 && at_source_options(f->source)->tokenizer;
    if (!at_source_is_folder(f->source) || made || strcmp(name, "scheduler") == 0)
        return at_source_save_component(f->source, name, f->to);
    char *from = at_path_join(at_source_path(f->source), name), *to = at_path_join(f->to, name);
    bool ok = (from && to) || at_fail_memory(f->log, strlen(name));
    if (ok && (at_dir_exists(from) || at_file_exists(from)))
        ok = copy(f->log, from, to);
    at_free(from);
    at_free(to);
    return ok;
}

// A component that is not declared absent; model_index.json need not name what is there.
static bool has(const struct folder *f, const char *name)
{
    struct at_json v = at_json_get(at_source_index(f->source), name);
    if (v.item)
        return at_json_is_array(v) && at_json_is_string(at_json_at(v, 0)) && !strchr(name, '/') && name[0] != '.';
    char *dir = at_source_is_folder(f->source) ? at_path_join(at_source_path(f->source), name) : NULL;
    bool there = dir && at_dir_exists(dir);
    at_free(dir);
    return there;
}

static bool open_part(struct folder *f, int i)
{
    struct at_outs *o = &f->outs[i];
    *o = (struct at_outs){.source = f->source, .p = f->p, .log = f->log};
    if (!(f->weights[i] = at_source_weights(f->source, parts[i].name)))
        return false;
    bool ok = true;
    for (size_t k = 0; ok && k < at_safetensors_count(f->weights[i]); k++) {
        const struct at_st_tensor *t = at_safetensors_at(f->weights[i], k);
        ok = at_outs_add(o, &(struct at_out){parts[i].name, f->weights[i], {t}, 1, false}, t->name, t->rank, t->shape);
    }
    return ok;
}

static bool write_part(struct folder *f, int i)
{
    struct at_st_text format = {"format", "pt"};
    char *config = at_strf("%s/config.json", parts[i].name);
    char *path = at_strf("%s/%s/%s.safetensors", f->to, parts[i].name, parts[i].base);
    bool ok = ((config && path) || at_fail_memory(f->log, strlen(f->to))) &&
              at_source_save_file(f->source, config, f->to) && at_outs_write(&f->outs[i], path, &format, 1);
    at_free(config);
    at_free(path);
    return ok;
}

// Weights, a component after the other; then the rest.
static bool fill_weights(struct folder *f)
{
    uint64_t total = 0, before = 0;
    bool ok = true;
    for (int i = 0; ok && i < PARTS; i++)
        if (has(f, parts[i].name)) {
            ok = open_part(f, i);
            total += f->outs[i].bytes;
        }
    for (int i = 0; ok && i < PARTS; i++)
        if (f->weights[i]) {
            f->outs[i].before = before;
            f->outs[i].total = total;
            before += f->outs[i].bytes;
            ok = write_part(f, i);
        }
    return ok;
}

static bool is_one_of(const char *name, const char *const *list)
{
    while (*list && strcmp(*list, name) != 0)
        list++;
    return *list;
}

static bool fill_others(struct folder *f)
{
    static const char *const weights[] = {"unet", "text_encoder", "text_encoder_2", "vae", NULL};
    static const char *const others[] = {"scheduler", "tokenizer", "tokenizer_2", NULL};
    struct at_json index = at_source_index(f->source);
    bool ok = true;
    for (const char *const *name = others; ok && *name; name++)
        ok = !has(f, *name) || write_other(f, *name);
    for (struct at_json v = at_json_first(index); ok && v.item; v = at_json_next(v)) {
        const char *name = at_json_key(v);
        ok = is_one_of(name, weights) || is_one_of(name, others) || !has(f, name) || write_other(f, name);
    }
    return ok;
}

static bool write_folder(const struct at_model_source *s, const struct at_source_write_params *p)
{
    struct folder f = {.source = s, .p = p, .log = s->log, .to = at_dir_replace_begin(s->log, p->out)};
    bool ok = f.to && fill_weights(&f) && fill_others(&f) &&
              at_source_save_file(s, "model_index.json", f.to) && at_dir_replace_commit(s->log, p->out);
    if (f.to && !ok && !at_path_remove(s->log, f.to))
        at_warn(s->log, "%s: what is left of a model that was not finished; remove it", f.to);
    for (int i = 0; i < PARTS; i++) {
        at_outs_finish(&f.outs[i]);
        at_safetensors_destroy(&f.weights[i]);
    }
    at_free(f.to);
    return ok;
}

bool at_source_write(const struct at_model_source *s, const struct at_source_write_params *p)
{
    bool ok = at_source_write_check(s->log, p) && (at_source_write_is_file(p->out) ? at_single_write(s, p) : write_folder(s, p));
    return ok || at_fail_unsaid(s->log);
}
