// SPDX-License-Identifier: Apache-2.0
#include "pipelines/model/vae_folder.h"

#include "core/base/alloc.h"
#include "core/graph/dry.h"
#include "core/io/file.h"
#include "pipelines/model/stages.h"

static bool read_config(struct at_model *m, const char *dir)
{
    char *path = at_path_join(dir, "config.json");
    if (path && !at_file_exists(path)) {
        at_fail(m->log, AT_ERROR_INPUT, "%s: there is no such file; give the folder of an autoencoder alone, such as "
                "taesd or the vae folder of a model", path);
        at_free(path);
        return false;
    }
    struct at_json_doc *doc = path ? at_json_load(m->log, path) : NULL;
    bool ok = doc && at_vae_config_parse(at_json_root(doc), &m->vae);
    at_json_destroy(&doc);
    at_free(path);
    return ok;
}

static bool declare(struct at_model *m)
{
    struct at_graph *g = at_graph_create(m->log);
    if (!g)
        return false;
    struct at_builder b = {.g = g, .params = m->vae_params};
    int side = at_vae_factor(&m->vae);
    at_vae_encode(&b, &m->vae, at_graph_input(g, "image", AT_SHAPE(1, side, side, m->vae.in_channels), AT_F32));
    at_vae_decode(&b, &m->vae, at_graph_input(g, "z", AT_SHAPE(1, 1, 1, m->vae.latent_channels), AT_F32));
    bool ok = at_graph_ok(g);
    at_graph_destroy(&g);
    return ok;
}

struct at_model *at_vae_folder_open(struct at_device *dev, const char *dir, struct at_log *log)
{
    struct at_model *m = at_calloc(1, sizeof(*m));
    struct at_safetensors *file = NULL;
    if (!m) {
        at_fail_memory(log, sizeof(*m));
        return NULL;
    }
    m->log = log;
    m->dev = dev;
    bool ok = read_config(m, dir) && (m->stages = at_model_stages_create(log)) &&
              (m->vae_params = at_params_create(log)) && declare(m) &&
              (file = at_weights_open(log, dir, "diffusion_pytorch_model", NULL)) &&
              at_params_check(m->vae_params, file, "", NULL) && at_params_allocate(m->vae_params, dev, 0) &&
              (at_is_dry(dev) || at_params_load(m->vae_params, file, "", NULL));
    at_safetensors_destroy(&file);
    if (!ok) {
        at_fail_unsaid(log);
        at_model_destroy(&m);
    }
    return m;
}
