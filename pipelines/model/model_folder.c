// SPDX-License-Identifier: Apache-2.0
#include "pipelines/model/model_folder.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/json.h"

#include <string.h>

// vae/config.json with the scaling factor the model has now.
static bool write_vae_config(struct at_model *m, const char *to)
{
    char *target = at_path_join(to, "vae/config.json");
    char *folder = target ? at_path_dir(target) : NULL;
    struct at_json_doc *old = at_source_config(m->source, "vae"), *doc = old ? at_json_create(m->log, false) : NULL;
    bool ok = folder && doc && at_dir_make(m->log, folder);
    for (struct at_json v = at_json_first(at_json_root(old)); ok && v.item; v = at_json_next(v))
        if (strcmp(at_json_key(v), "scaling_factor") != 0)
            at_json_put_copy(at_json_root(doc), at_json_key(v), v);
    if (ok)
        at_json_put_float(at_json_root(doc), "scaling_factor", m->vae.scaling_factor);
    ok = ok && at_json_save(doc, target, true);
    at_json_destroy(&old);
    at_json_destroy(&doc);
    at_free(target);
    at_free(folder);
    return ok;
}

static bool write_weights(struct at_model *m, const char *to, const char *name, const struct at_params *params,
                          const float *values, enum at_st_dtype dtype)
{
    char *path = at_path_join(to, name), *folder = path ? at_path_dir(path) : NULL;
    struct at_params_save_params how = {.path = path, .dtype = dtype, .values = values};
    bool ok = folder && at_dir_make(m->log, folder) && at_params_save(params, &how);
    at_free(path);
    at_free(folder);
    return ok;
}

bool at_model_folder_save(struct at_model *m, const char *dir, const struct at_model_folder *how)
{
    static const char *const copied[] = {
        "model_index.json", "scheduler/scheduler_config.json", "unet/config.json", "text_encoder/config.json",
        "tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/tokenizer_config.json",
        "tokenizer/special_tokens_map.json", "tokenizer/tokenizer.json", "text_encoder_2/config.json",
        "tokenizer_2/vocab.json", "tokenizer_2/merges.txt", "tokenizer_2/tokenizer_config.json",
        "tokenizer_2/special_tokens_map.json", "tokenizer_2/tokenizer.json"};
    const struct {
        enum at_part bit;
        const char *name;
        const struct at_params *params; // NULL: the model has none
        const float *values;
    } weights[] = {
        {AT_PART_TEXT, "text_encoder/model.safetensors", m->text[0].params, how->text[0]},
        {AT_PART_TEXT, "text_encoder_2/model.safetensors", m->text[1].params, how->text[1]},
        {AT_PART_UNET, "unet/diffusion_pytorch_model.safetensors", m->unet_params, how->unet},
        {AT_PART_VAE, "vae/diffusion_pytorch_model.safetensors", m->vae_params, how->vae},
    };
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof(copied) / sizeof(*copied); i++)
        ok = at_source_save_file(m->source, copied[i], dir);
    ok = ok && (m->vae_params ? write_vae_config(m, dir) : at_source_save_file(m->source, "vae/config.json", dir));
    for (size_t i = 0; ok && i < sizeof(weights) / sizeof(*weights); i++) {
        if (!(how->parts & weights[i].bit))
            ok = at_source_save_file(m->source, weights[i].name, dir);
        else if (weights[i].params)
            ok = write_weights(m, dir, weights[i].name, weights[i].params, weights[i].values, how->dtype);
    }
    return ok;
}
