// SPDX-License-Identifier: Apache-2.0
#include "tools/models.h"

#include "core/base/alloc.h"
#include "core/base/utf8.h"
#include "core/io/file.h"
#include "core/io/sha256.h"
#include "pipelines/lora/lora_data.h"
#include "pipelines/sample/sample.h"

#include <math.h>
#include <string.h>

#define LORA_FILE "pytorch_lora_weights.safetensors"
#define EMBEDDED "embedded"
#define EMBEDDED_CFG 4.0 // as in testing the embedded model

void at_reading_options(struct at_options *o, struct at_source_options *r)
{
    static const char *const predictions[] = {"config", "epsilon", "v_prediction", "sample", NULL};
    const struct at_option rows[] = {
        {"variant", 0, AT_OPTION_TEXT, &r->variant, "NAME", "weights of a model folder to read, such as fp16 or bf16: "
         "diffusion_pytorch_model.NAME.safetensors", .zero = "the plain ones, else fp16"},
        {"tokenizer", 0, AT_OPTION_TEXT, &r->tokenizer, "PATH", "of a model that has none of its own: a folder with "
         "vocab.json and merges.txt, or a file of merges", .zero = "the model's own"},
        {"prediction", 0, AT_OPTION_CHOICE, &r->prediction, "NAME", "what the denoiser puts out; config is what the "
         "model says of itself", .choices = predictions},
        {"allow-unexpected", 0, AT_OPTION_FLAG, &r->allow_unexpected, NULL,
         "warn about tensors that are no part of the model instead of refusing it"},
        {0},
    };
    at_options_add(o, rows);
}

// A copy of the first n bytes.
static char *copy(const char *text, size_t n)
{
    return at_strf("%.*s", (int)n, text);
}

// FILE[:SCALE]; a colon that no number follows belongs to the name.
static bool add_lora(struct at_log *log, struct at_loaded *l, const char *word, size_t n)
{
    if (l->count == AT_LOADED_LORAS)
        return at_fail(log, AT_ERROR_USAGE, "more than %d adapters for one model", AT_LOADED_LORAS);
    struct at_lora_file *file = &l->files[l->count];
    double scale = 1;
    char *path = copy(word, n), *colon = path ? strrchr(path, ':') : NULL;
    if (!path)
        return at_fail_memory(log, n);
    if (colon && at_text_real(colon + 1, &scale))
        *colon = '\0';
    else if (colon && !at_file_exists(path) && !at_dir_exists(path)) {
        at_fail(log, AT_ERROR_USAGE, "%s: \"%s\" is not a strength; write FILE:0.8", path, colon + 1);
        at_free(path);
        return false;
    }
    *file = (struct at_lora_file){.path = path, .scale = (float)scale};
    l->count++;
    if (!path[0] || !(fabs(scale) <= 100))
        return at_fail(log, AT_ERROR_USAGE, "\"%.*s\": expected an adapter's FILE[:SCALE], the scale from -100 to 100",
                       (int)n, word);
    file->path = at_lora_data_path(path);
    at_free(path);
    return file->path || at_fail_memory(log, n);
}

const char *at_model_word(const char *word)
{
    return word && strcmp(word, EMBEDDED) == 0 && !at_dir_exists(word) ? NULL : word;
}

// Names go into pictures, which hold UTF-8 alone.
static bool name_is_text(struct at_log *log, const char *name)
{
    return at_utf8_valid(name, strlen(name)) ||
           at_fail(log, AT_ERROR_INPUT, "%s: the name is not UTF-8, as a picture's settings must be; rename it", name);
}

bool at_loaded_parse(struct at_log *log, const char *model, const struct at_texts *loras, struct at_loaded *l)
{
    bool ok = true;
    *l = (struct at_loaded){0};
    if (model && !name_is_text(log, model))
        return false;
    if (model) {
        size_t n = at_dir_exists(model) || at_file_exists(model) ? strlen(model) : strcspn(model, "+"); // that name holds it
        if (!(l->path = copy(model, n)))
            return at_fail_memory(log, n);
        if (!n || !at_model_word(l->path)) { // "+FILE" is the embedded model with an adapter
            at_free(l->path);
            l->path = NULL;
        }
        bool alone = strcmp(model, "+") == 0; // the embedded model without one
        for (const char *next = model + n; ok && !alone && *next == '+';) {
            size_t m = strcspn(next + 1, "+");
            ok = add_lora(log, l, next + 1, m);
            next += 1 + m;
        }
    }
    for (size_t i = 0; ok && loras && i < loras->count; i++)
        ok = name_is_text(log, loras->items[i]) && add_lora(log, l, loras->items[i], strlen(loras->items[i]));
    return ok;
}

bool at_loaded_check(const struct at_loaded *l, struct at_log *log)
{
    struct at_model *m = at_model_open(NULL, &(struct at_model_params){.path = l->path, .reading = l->reading, .check = true}, log);
    bool ok = m;
    for (int i = 0; ok && i < l->count; i++) {
        struct at_lora *lora = at_lora_open(m, l->files[i].path, l->files[i].scale);
        ok = lora;
        at_lora_destroy(&lora);
    }
    at_model_destroy(&m);
    return ok;
}

bool at_loaded_open(struct at_device *dev, struct at_loaded *l, struct at_log *log)
{
    l->model = at_model_open(dev, &(struct at_model_params){.path = l->path, .reading = l->reading, .lazy = true}, log);
    for (int i = 0; l->model && i < l->count; i++) {
        l->loras[i] = at_lora_open(l->model, l->files[i].path, l->files[i].scale);
        if (!l->loras[i])
            return false;
    }
    return l->model != NULL;
}

bool at_loaded_hash(struct at_loaded *l, struct at_log *log)
{
    bool ok = at_source_hash(l->model->source, "unet", l->sha256);
    for (int i = 0; ok && i < l->count; i++)
        ok = at_sha256_file(log, l->files[i].path, l->files[i].sha256);
    return ok;
}

void at_loaded_close(struct at_loaded *l)
{
    for (int i = 0; i < l->count; i++)
        at_lora_destroy(&l->loras[i]);
    at_model_destroy(&l->model);
}

void at_loaded_finish(struct at_loaded *l)
{
    at_loaded_close(l);
    for (int i = 0; i < l->count; i++)
        at_free(l->files[i].path);
    at_free(l->path);
    *l = (struct at_loaded){0};
}

// The last part of a path that says something: not the standard file name.
char *at_lora_label(const char *path)
{
    char *dir = strcmp(at_path_name(path), LORA_FILE) == 0 ? at_path_dir(path) : at_strdup(path);
    size_t n = dir ? strlen(dir) : 0;
    while (n > 1 && dir[n - 1] == '/')
        dir[--n] = '\0';
    char *name = dir ? at_strdup(at_path_name(dir)[0] ? at_path_name(dir) : dir) : NULL;
    at_free(dir);
    return name;
}

const char *at_loaded_name(const struct at_loaded *l)
{
    const char *name = l->path ? at_path_name(l->path) : EMBEDDED;
    return name[0] ? name : l->path;
}

char *at_loaded_label(const struct at_loaded *l)
{
    char *label = l->path ? at_lora_label(l->path) : at_strdup(EMBEDDED);
    for (int i = 0; label && i < l->count; i++) {
        char *name = at_lora_label(l->files[i].path), scale[32] = "";
        if (l->files[i].scale != 1)
            snprintf(scale, sizeof(scale), ":%g", (double)l->files[i].scale);
        char *longer = name ? at_strf("%s + %s%s", label, name, scale) : NULL;
        at_free(label);
        at_free(name);
        label = longer;
    }
    return label;
}

double at_loaded_cfg(const struct at_loaded *l)
{
    return l->path ? at_sample_cfg(l->model) : EMBEDDED_CFG;
}
