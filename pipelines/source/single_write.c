// SPDX-License-Identifier: Apache-2.0
// Facts: diffusers scripts/convert_diffusers_to_original_stable_diffusion.py and _sdxl.py; sd-scripts library/model_util.py
// and library/sai_model_spec.py.
#include "core/base/alloc.h"
#include "core/base/listing.h"
#include "core/io/file.h"
#include "pipelines/source/single_check.h"
#include "pipelines/source/source_out.h"
#include "pipelines/source/source_state.h"

#include <stdio.h>
#include <string.h>

#define TEXTS 8 // of metadata
#define LOGIT_SCALE 4.6052f // ln 100: where CLIP's training holds it

struct making {
    const struct at_model_source *source;
    struct at_log *log;
    struct at_outs outs;
    struct at_single_model model;
    struct at_safetensors *weights[AT_SINGLE_PARTS];
    struct at_listing homeless;
    float *identity;
    int64_t *positions;
};

// The weights of a text encoder with "text_model." in their names; `st` is destroyed.
static struct at_safetensors *complete(struct at_safetensors *st)
{
    if (!st || !at_clip_bare(st))
        return st;
    struct at_safetensors *view = at_safetensors_view(st);
    bool ok = view;
    for (size_t i = 0; ok && i < at_safetensors_count(st); i++) {
        const struct at_st_tensor *t = at_safetensors_at(st, i);
        char *name = at_strf("text_model.%s", t->name);
        ok = name && at_safetensors_view_add(view, &(struct at_st_pick){.from = t, .name = name});
        at_free(name);
    }
    if (!ok || !at_safetensors_view_end(view))
        at_safetensors_destroy(&view);
    at_safetensors_destroy(&st);
    return view;
}

static bool open_weights(struct making *m)
{
    bool ok = true;
    int parts = m->model.family == AT_FAMILY_SDXL ? AT_SINGLE_PARTS : AT_SINGLE_TEXT_2;
    for (int i = 0; ok && i < parts; i++) {
        struct at_safetensors *st = at_source_weights(m->source, at_single_components[i]);
        m->weights[i] = i < AT_SINGLE_TEXT ? st : complete(st);
        ok = m->weights[i];
    }
    return ok;
}

// The keys and values that belong to queries.
static bool find_thirds(const struct making *m, enum at_single_part part, struct at_out *out)
{
    const char *name = out->from[0]->name, *at = strstr(name, ".q_proj.");
    out->parts = 3;
    for (int i = 1; i < 3; i++) {
        char *other = at_strf("%.*s.%c_proj.%s", at ? (int)(at - name) : 0, name, "qkv"[i], at ? at + 8 : "");
        const struct at_st_tensor *t = other ? at_safetensors_find(m->weights[part], other) : NULL;
        at_free(other);
        out->from[i] = t;
        if (!t || t->rank != out->from[0]->rank || t->elements != out->from[0]->elements)
            return at_fail(m->log, AT_ERROR_INPUT, "%s: tensor \"%.200s\" lacks the keys or values that go with it",
                           out->from[0]->file, name);
    }
    return true;
}

// SD 2.x reads the last state but one, so that diffusers has not got the last layer, which loaders of OpenCLIP look for.
// What stands there is read by nobody: the layer before it once more.
static bool add_last_layer(struct making *m, const struct at_out *out, const struct at_single_original *o, int rank,
                           const uint64_t *shape)
{
    int layers = m->model.text[0].layers;
    char *last = at_strf(".resblocks.%d.", layers - 1);
    const char *at = last ? strstr(o->name, last) : NULL;
    char *name = at ? at_strf("%.*s.resblocks.%d.%s", (int)(at - o->name), o->name, layers, at + strlen(last)) : NULL;
    bool ok = last && (!at || (name && at_outs_add(&m->outs, out, name, rank, shape)));
    at_free(last);
    at_free(name);
    return ok || at_fail_unsaid(m->log);
}

static bool add_weight(struct making *m, enum at_single_part part, const struct at_st_tensor *t)
{
    struct at_single_original o;
    struct at_out out = {.component = at_single_components[part], .weights = m->weights[part], .from = {t}, .parts = 1};
    uint64_t shape[8] = {0};
    if (!at_single_original(m->model.family, part, &m->model.unet, m->model.vae.blocks, t->name, &o) || t->rank > 4 ||
        (o.transpose && t->rank != 2)) {
        at_listing_add(&m->homeless, t->name);
        return true;
    }
    if (o.third > 0)
        return true; // with the queries
    for (int i = 0; i < 4; i++)
        shape[i] = i < t->rank ? t->shape[i] : 1;
    int rank = o.rank ? o.rank : t->rank;
    out.transpose = o.transpose;
    if (o.transpose)
        shape[0] = t->shape[1], shape[1] = t->shape[0];
    if (o.third == 0) {
        shape[0] *= 3;
        if (!find_thirds(m, part, &out))
            return false;
    }
    bool last = m->model.family == AT_FAMILY_SD2 && part == AT_SINGLE_TEXT;
    return at_outs_add(&m->outs, &out, o.name, rank, shape) && (!last || add_last_layer(m, &out, &o, rank, shape));
}

// Ids of positions, which files of CLIP carry.
static bool add_positions(struct making *m, const char *name)
{
    int n = m->model.text[0].positions;
    if (!(m->positions = at_calloc((size_t)n, sizeof(*m->positions))))
        return at_fail_memory(m->log, (size_t)n * sizeof(*m->positions));
    for (int i = 0; i < n; i++)
        m->positions[i] = i;
    return at_outs_add_item(&m->outs, &(struct at_st_item){.name = name, .dtype = AT_ST_I64, .rank = 2,
                                                           .shape = (const uint64_t[]){1, (uint64_t)n},
                                                           .raw = m->positions});
}

// A projection of SD 2.x, which has none: loaders of OpenCLIP look for one.
static bool add_projection(struct making *m)
{
    size_t n = (size_t)m->model.text[0].width;
    if (!(m->identity = at_calloc(n * n, sizeof(*m->identity))))
        return at_fail_memory(m->log, n * n * sizeof(*m->identity));
    for (size_t i = 0; i < n; i++)
        m->identity[i * n + i] = 1;
    enum at_st_dtype dtype = m->outs.p->convert ? m->outs.p->dtype : at_safetensors_at(m->weights[AT_SINGLE_TEXT], 0)->dtype;
    if (dtype != AT_ST_F16 && dtype != AT_ST_BF16)
        dtype = AT_ST_F32;
    return at_outs_add_item(&m->outs, &(struct at_st_item){.name = "cond_stage_model.model.text_projection",
                                                           .dtype = dtype, .rank = 2,
                                                           .shape = (const uint64_t[]){n, n}, .data = m->identity});
}

// What files of the family have besides weights, and the marks by which readers know what is predicted.
static bool add_extras(struct making *m)
{
    static const float scale = LOGIT_SCALE;
    static const uint64_t none[1] = {0};
    const struct at_single_model *model = &m->model;
    struct at_st_item mark = {.dtype = AT_ST_F32, .rank = 1, .shape = none, .data = &scale};
    struct at_st_item logit = {.name = "cond_stage_model.model.logit_scale", .dtype = AT_ST_F32, .data = &scale};
    bool ok = true;
    if (model->family == AT_FAMILY_SD1)
        ok = add_positions(m, "cond_stage_model.transformer.text_model.embeddings.position_ids");
    if (model->family == AT_FAMILY_SDXL) {
        logit.name = "conditioner.embedders.1.model.logit_scale";
        ok = add_positions(m, "conditioner.embedders.0.transformer.text_model.embeddings.position_ids");
    }
    if (ok && model->family != AT_FAMILY_SD1)
        ok = at_outs_add_item(&m->outs, &logit) && (model->family != AT_FAMILY_SD2 || add_projection(m));
    mark.name = "v_pred";
    if (ok && model->prediction == AT_PREDICTION_V)
        ok = at_outs_add_item(&m->outs, &mark);
    mark.name = "ztsnr";
    return ok && (!model->zero_snr || at_outs_add_item(&m->outs, &mark));
}

static bool write_file(struct making *m)
{
    const struct at_single_model *model = &m->model;
    bool v = model->prediction == AT_PREDICTION_V;
    const char *const architectures[] = {"stable-diffusion-v1", v ? "stable-diffusion-v2-768-v" : "stable-diffusion-v2-512",
                                         "stable-diffusion-xl-v1-base"};
    const char *path = m->outs.p->out, *name = at_path_name(path);
    int pixels = model->unet.sample_size * at_vae_factor(&model->vae);
    char *title = at_strf("%.*s", (int)(strlen(name) - strlen(".safetensors")), name);
    char *resolution = at_strf("%dx%d", pixels, pixels);
    const struct at_st_text texts[TEXTS] = {
        {"format", "pt"},
        {"modelspec.sai_model_spec", "1.0.1"},
        {"modelspec.architecture", architectures[model->family]},
        {"modelspec.implementation", "https://github.com/Stability-AI/generative-models"},
        {"modelspec.title", title},
        {"modelspec.prediction_type", v ? "v" : "epsilon"},
        {"modelspec.resolution", resolution}};
    bool ok = ((title && resolution) || at_fail_memory(m->log, strlen(name))) &&
              at_outs_write(&m->outs, path, texts, pixels ? 7 : 6);
    at_free(title);
    at_free(resolution);
    return ok;
}

bool at_single_write(const struct at_model_source *s, const struct at_source_write_params *p)
{
    struct making m = {.source = s, .log = s->log};
    m.outs = (struct at_outs){.source = s, .p = p, .log = m.log};
    bool ok = at_single_model_read(s, &m.model) && open_weights(&m) && at_single_model_check(s, &m.model, m.weights);
    for (int i = 0; ok && i < AT_SINGLE_PARTS; i++)
        for (size_t k = 0; ok && m.weights[i] && k < at_safetensors_count(m.weights[i]); k++)
            ok = add_weight(&m, (enum at_single_part)i, at_safetensors_at(m.weights[i], k));
    ok = ok && at_listing_report(&m.homeless, m.log, AT_ERROR_INPUT, "%s: %d weights have no place in a single file of %s; "
                                 "write a folder instead", at_source_path(s), m.homeless.count,
                                 at_family_name(m.model.family)) &&
         add_extras(&m) && write_file(&m);
    for (int i = 0; i < AT_SINGLE_PARTS; i++)
        at_safetensors_destroy(&m.weights[i]);
    at_outs_finish(&m.outs);
    at_free(m.identity);
    at_free(m.positions);
    return ok;
}
