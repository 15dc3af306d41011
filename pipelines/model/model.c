// SPDX-License-Identifier: Apache-2.0
#include "pipelines/model/model.h"

#include "core/base/alloc.h"
#include "core/graph/dry.h"
#include "pipelines/model/condition.h"
#include "pipelines/model/stages.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const text_components[AT_TEXTS] = {"text_encoder", "text_encoder_2"};
static const char *const tokenizer_components[AT_TEXTS] = {"tokenizer", "tokenizer_2"};

static const struct {
    const char *name;
    int texts;
    bool guidance; // the guidance scale is an input of the denoiser
} classes[] = {
    {"StableDiffusionPipeline", 1, false},       {"StableDiffusionImg2ImgPipeline", 1, false},
    {"StableDiffusionXLPipeline", 2, false},     {"StableDiffusionXLImg2ImgPipeline", 2, false},
    {"LatentConsistencyModelPipeline", 1, true}, {"LatentConsistencyModelImg2ImgPipeline", 1, true},
};

// A component that the index says is absent: [null, null].
static bool is_absent(struct at_json index, const char *component)
{
    struct at_json v = at_json_get(index, component);
    return at_json_is_array(v) && at_json_count(v) && !at_json_present(at_json_at(v, 0));
}

// A pipeline this program can run.
static bool read_class(struct at_model *m, bool *guidance)
{
    const char *class = at_source_class(m->source);
    struct at_json index = at_source_index(m->source);
    size_t i = 0, count = sizeof(classes) / sizeof(*classes);
    if (!class)
        return false;
    while (i < count && strcmp(classes[i].name, class) != 0)
        i++;
    if (i == count)
        return at_json_fail(at_json_get(index, "_class_name"), "\"%s\" is not supported, only the pipelines for text "
                            "and image to image of StableDiffusion, StableDiffusionXL and LatentConsistencyModel",
                            class);
    m->texts = classes[i].texts;
    *guidance = classes[i].guidance;
    bool aesthetics = false;
    if (m->texts == 2 && (!at_json_bool(index, "force_zeros_for_empty_prompt", true, &m->zero_empty) ||
                          !at_json_bool(index, "requires_aesthetics_score", false, &aesthetics)))
        return false;
    if (m->texts == 2 && (aesthetics || is_absent(index, "text_encoder")))
        return at_fail(m->log, AT_ERROR_INPUT, "%s is a refiner of SDXL (one text encoder, aesthetic scores), which is "
                       "not supported; use the base model", m->path);
    return true;
}

static bool read_text(struct at_model *m, int i, bool wordless)
{
    struct at_text_encoder *e = &m->text[i];
    struct at_json_doc *doc = at_source_config(m->source, text_components[i]);
    bool ok = doc && at_clip_config_parse(at_json_root(doc), &e->config);
    at_json_destroy(&doc);
    if (!ok || wordless)
        return ok;
    ok = (e->tokenizer = at_source_tokenizer(m->source, tokenizer_components[i]));
    if (ok && at_clip_tokenizer_size(e->tokenizer) > e->config.vocab)
        ok = at_fail(m->log, AT_ERROR_INPUT, "%s: the %s has %d tokens, the %s %d", m->path, tokenizer_components[i],
                     at_clip_tokenizer_size(e->tokenizer), text_components[i], e->config.vocab);
    return ok;
}

// Files of 2022 say things that no model of Stable Diffusion means, and that diffusers' pipelines of its class correct:
// latents that are clipped, timesteps without an offset, pictures of less than 512 pixels.
static bool correct_old(struct at_model *m, struct at_json unet)
{
    const char *version;
    int major, minor;
    m->schedule->config.clip_sample = false;
    m->schedule->config.steps_offset = 1;
    if (!at_json_str(unet, "_diffusers_version", "", &version))
        return false;
    if (sscanf(version, "%d.%d", &major, &minor) == 2 && major == 0 && minor < 9 && m->unet.sample_size < 64)
        m->unet.sample_size = 64;
    return true;
}

static bool read_denoiser(struct at_model *m, bool guidance)
{
    struct at_json_doc *doc = at_source_config(m->source, "unet");
    bool ok = doc && at_unet_config_parse(at_json_root(doc), &m->unet) && (m->schedule = at_source_schedule(m->source));
    if (ok && m->texts == 1 && !guidance)
        ok = correct_old(m, at_json_root(doc));
    at_json_destroy(&doc);
    return ok;
}

static bool read_configs(struct at_model *m, unsigned parts, bool guidance, bool wordless)
{
    bool ok = true;
    for (int i = 0; ok && parts & AT_PART_TEXT && i < m->texts; i++)
        ok = read_text(m, i, wordless);
    if (parts & AT_PART_UNET)
        ok = ok && read_denoiser(m, guidance);
    if (ok && parts & AT_PART_VAE) {
        struct at_json_doc *doc = at_source_config(m->source, "vae");
        ok = doc && at_vae_config_parse(at_json_root(doc), &m->vae);
        m->vae.exact = m->vae.exact && m->texts == 2; // the others' say so as well, but do not overflow
        at_json_destroy(&doc);
    }
    return ok;
}

// Two encoders stand side by side, token by token.
static bool check_texts(struct at_model *m)
{
    const struct at_clip_config *first = &m->text[0].config, *second = &m->text[1].config;
    if (m->texts < 2)
        return true;
    size_t tokens[] = {0, 0};
    for (int i = 0; i < 2; i++)
        if (m->text[i].tokenizer)
            tokens[i] = at_clip_tokenizer_length(m->text[i].tokenizer);
    if (tokens[0] != tokens[1] || first->positions != second->positions)
        return at_fail(m->log, AT_ERROR_INPUT, "%s: prompts have %zu and %zu tokens (model_max_length), positions are "
                       "%d and %d: those of text_encoder and text_encoder_2 must be equal", m->path, tokens[0],
                       tokens[1], first->positions, second->positions);
    return second->projection ||
           at_fail(m->log, AT_ERROR_INPUT, "%s: text_encoder_2 is no CLIPTextModelWithProjection: SDXL reads its "
                   "projection", m->path);
}

static bool check_unet(struct at_model *m, bool guidance)
{
    const struct at_unet_config *u = &m->unet;
    bool sizes = u->addition_time != 0;
    if (sizes != (m->texts == 2))
        return at_fail(m->log, AT_ERROR_INPUT,
                       sizes ? "%s: the unet reads sizes (addition_embed_type text_time), as only SDXL pipelines give"
                             : "%s: the unet of an SDXL pipeline must have addition_embed_type text_time", m->path);
    if (sizes && u->addition_input <= 6 * u->addition_time)
        return at_fail(m->log, AT_ERROR_INPUT, "%s: unet projection_class_embeddings_input_dim %d leaves nothing "
                       "beside six sizes of %d (addition_time_embed_dim)", m->path, u->addition_input,
                       u->addition_time);
    if (guidance && !u->guidance_dim)
        return at_fail(m->log, AT_ERROR_INPUT, "%s: the unet of a latent consistency model must have "
                       "time_cond_proj_dim", m->path);
    return !u->guidance_dim || u->guidance_dim > 3 ||
           at_fail(m->log, AT_ERROR_INPUT, "%s: unet time_cond_proj_dim %d: must be 4 or more", m->path,
                   u->guidance_dim);
}

static bool check_text_and_unet(struct at_model *m)
{
    const struct at_unet_config *u = &m->unet;
    const struct at_clip_config *last = &m->text[m->texts - 1].config;
    int width = m->text[0].config.width + (m->texts > 1 ? last->width : 0);
    for (int i = 0; i < u->blocks; i++)
        if (u->context[i] != width)
            return at_fail(m->log, AT_ERROR_INPUT, "%s: unet cross_attention_dim is %d, but %s %d", m->path,
                           u->context[i], m->texts > 1 ? "the hidden_size of both text encoders together"
                                                       : "text_encoder hidden_size is", width);
    if (u->addition_time && u->addition_input != last->projection + 6 * u->addition_time)
        return at_fail(m->log, AT_ERROR_INPUT, "%s: unet projection_class_embeddings_input_dim is %d, but "
                       "text_encoder_2 projection_dim %d and six times addition_time_embed_dim %d are %d", m->path, u->addition_input,
                       last->projection, u->addition_time, last->projection + 6 * u->addition_time);
    return true;
}

// The parts must fit together, or a later graph fails with less to say.
static bool check_fit(struct at_model *m, unsigned parts, bool guidance)
{
    bool text = parts & AT_PART_TEXT, unet = parts & AT_PART_UNET, vae = parts & AT_PART_VAE;
    if ((text && !check_texts(m)) || (unet && !check_unet(m, guidance)) || (text && unet && !check_text_and_unet(m)))
        return false;
    if (unet && vae &&
        (m->unet.in_channels != m->vae.latent_channels || m->unet.out_channels != m->vae.latent_channels))
        return at_fail(m->log, AT_ERROR_INPUT, "%s: unet has %d in_channels and %d out_channels, but vae has %d "
                       "latent_channels", m->path, m->unet.in_channels, m->unet.out_channels, m->vae.latent_channels);
    return true;
}

struct part {
    enum at_part bit;
    const char *component;
    struct at_params **params;
    struct at_text_encoder *text; // of AT_PART_TEXT
};

static bool declare(struct at_model *m, const struct part *part)
{
    struct at_graph *g = at_graph_create(m->log);
    if (!g)
        return false;
    struct at_builder b = {.g = g, .params = *part->params};
    if (part->bit == AT_PART_TEXT) {
        const struct at_clip_config *c = &part->text->config;
        struct at_node *ids = at_graph_input(g, "ids", AT_SHAPE(1, c->positions), AT_I32);
        at_clip_text(&b, c, &(struct at_clip_inputs){.ids = ids}, NULL);
    }
    if (part->bit == AT_PART_UNET) {
        int side = 1 << (m->unet.blocks - 1);
        struct at_node *x = at_graph_input(g, "x", AT_SHAPE(1, side, side, m->unet.in_channels), AT_F32);
        struct at_node *t = at_graph_input(g, "t", AT_SHAPE(1), AT_F32);
        int64_t floats = (int64_t)at_condition_floats(&m->unet, 1);
        at_condition_unet(&b, &m->unet, x, t, at_graph_input(g, "rows", AT_SHAPE(1, floats), AT_F32));
    }
    if (part->bit == AT_PART_VAE) {
        int side = at_vae_factor(&m->vae);
        at_vae_encode(&b, &m->vae, at_graph_input(g, "image", AT_SHAPE(1, side, side, m->vae.in_channels), AT_F32));
        at_vae_decode(&b, &m->vae, at_graph_input(g, "z", AT_SHAPE(1, 1, 1, m->vae.latent_channels), AT_F32));
    }
    bool ok = at_graph_ok(g);
    at_graph_destroy(&g);
    return ok;
}

static const char *const *ignored_names(const struct at_model *m)
{
    static const char *const all[] = {"*", NULL};
    return at_source_options(m->source)->allow_unexpected ? all : NULL;
}

enum { PARTS = AT_TEXTS + 2 };

static void list_parts(struct at_model *m, struct part list[PARTS])
{
    for (int i = 0; i < AT_TEXTS; i++)
        list[i] = (struct part){AT_PART_TEXT, text_components[i], &m->text[i].params, &m->text[i]};
    list[AT_TEXTS] = (struct part){AT_PART_UNET, "unet", &m->unet_params, NULL};
    list[AT_TEXTS + 1] = (struct part){AT_PART_VAE, "vae", &m->vae_params, NULL};
}

static bool is_fresh(const struct at_model_params *p, const struct part *part)
{
    return p->untrained && (!p->fresh || p->fresh & part->bit);
}

// Values into memory that is there. file: NULL where they are fresh.
static bool fill(const struct at_model *m, const struct part *part, const struct at_safetensors *file)
{
    const struct at_model_params *p = &m->opened;
    return file ? at_params_load(*part->params, file, "", ignored_names(m))
                : at_params_init(*part->params, p->seed + part->bit + (part->text == &m->text[1] ? 8 : 0));
}

static bool open_weights(struct at_model *m, const struct part *part, const struct at_model_params *p)
{
    bool fresh = is_fresh(p, part), dry = at_is_dry(m->dev);
    bool frozen = !(p->trainable & part->bit);
    // A forecast reads no weights, but may have to know their types.
    enum at_weights weights = m->dev ? m->dev->weights : AT_WEIGHTS_STORED;
    if (p->exact && weights != AT_WEIGHTS_F32)
        weights = AT_WEIGHTS_STORED;
    bool read = !fresh && (!dry || (frozen && weights == AT_WEIGHTS_STORED));
    struct at_safetensors *file = NULL;
    if (read && !(file = at_source_weights(m->source, part->component)))
        return false;
    if (file && part->text)
        part->text->config.bare = at_clip_bare(file);
    int replicas = frozen ? 0 : p->replicas > 0 ? p->replicas : 1;
    bool ok = (*part->params = at_params_create(m->log)) && declare(m, part) &&
              (!file || at_params_check(*part->params, file, "", ignored_names(m)));
    if (ok && frozen)
        at_params_choose_types(*part->params, weights, file, "");
    if (frozen && p->lazy)
        m->resting |= part->bit;
    else if (ok && !p->check)
        ok = at_params_allocate(*part->params, m->dev, replicas) && (dry || fill(m, part, file));
    at_safetensors_destroy(&file);
    return ok;
}

struct at_model *at_model_open(struct at_device *dev, const struct at_model_params *p, struct at_log *log)
{
    struct at_model *m = at_calloc(1, sizeof(*m));
    if (!m) {
        at_fail_memory(log, sizeof(*m));
        return NULL;
    }
    unsigned parts = p->parts ? p->parts : AT_PART_TEXT | AT_PART_UNET | AT_PART_VAE;
    m->log = log;
    m->dev = dev;
    m->source = at_source_open(log, p->path, p->reading);
    m->path = m->source ? at_source_path(m->source) : NULL;
    m->opened = *p;
    struct part list[PARTS];
    list_parts(m, list);
    bool guidance = false, ok = m->source && read_class(m, &guidance) && read_configs(m, parts, guidance, p->wordless) &&
                        check_fit(m, parts, guidance) && (m->stages = at_model_stages_create(log));
    for (int i = 0; ok && i < PARTS; i++)
        if (parts & ~p->weightless & list[i].bit && list[i].text != &m->text[m->texts])
            ok = open_weights(m, &list[i], p);
    if (!ok) {
        at_fail_unsaid(log);
        at_model_destroy(&m);
    }
    return m;
}

void at_model_destroy(struct at_model **model)
{
    struct at_model *m = *model;
    if (!m)
        return;
    at_model_stages_destroy(&m->stages);
    at_params_destroy(&m->unet_params);
    at_params_destroy(&m->vae_params);
    for (int i = 0; i < AT_TEXTS; i++) {
        at_params_destroy(&m->text[i].params);
        at_clip_tokenizer_destroy(&m->text[i].tokenizer);
    }
    at_schedule_destroy(&m->schedule);
    at_source_destroy(&m->source);
    at_free(m);
    *model = NULL;
}

void at_model_drop(struct at_model *m, unsigned parts)
{
    at_model_stages_drop(m->stages, parts);
    for (int i = 0; parts & AT_PART_TEXT && i < AT_TEXTS; i++)
        at_params_destroy(&m->text[i].params);
    if (parts & AT_PART_UNET)
        at_params_destroy(&m->unet_params);
    if (parts & AT_PART_VAE)
        at_params_destroy(&m->vae_params);
}

void at_model_rest(struct at_model *m, unsigned parts)
{
    struct part list[PARTS];
    list_parts(m, list);
    parts &= ~m->opened.trainable;
    at_model_stages_drop(m->stages, parts);
    for (int i = 0; i < PARTS; i++)
        if (parts & list[i].bit && *list[i].params) {
            at_params_release(*list[i].params);
            m->resting |= list[i].bit;
        }
}

static bool wake(const struct at_model *m, const struct part *part)
{
    bool dry = at_is_dry(m->dev), fresh = is_fresh(&m->opened, part);
    struct at_safetensors *file = dry || fresh ? NULL : at_source_weights(m->source, part->component);
    bool ok = (dry || fresh || file) && at_params_allocate(*part->params, m->dev, 0) && (dry || fill(m, part, file));
    at_safetensors_destroy(&file);
    return ok;
}

bool at_model_wake(struct at_model *m, unsigned parts)
{
    struct part list[PARTS];
    bool ok = true;
    list_parts(m, list);
    parts &= m->resting;
    for (int i = 0; ok && i < PARTS; i++)
        if (parts & list[i].bit && *list[i].params)
            ok = wake(m, &list[i]);
    if (ok)
        m->resting &= ~parts;
    else
        at_model_rest(m, parts);
    return ok;
}

bool at_model_try(const struct at_model *m, struct at_log *log, struct at_model *copy)
{
    *copy = *m;
    copy->log = log;
    copy->stages = at_model_stages_create(log);
    copy->dev = at_dry_open(m->dev, log);
    if (copy->dev)
        copy->dev->memory = 0;
    return copy->stages && copy->dev;
}

void at_model_try_end(const struct at_model *m, struct at_model *copy)
{
    if (copy->stages)
        at_model_rest(copy, m->resting);
    at_model_stages_destroy(&copy->stages);
    at_device_close(&copy->dev);
}

void at_model_latent(const struct at_model *m, const float *moments, const float *noise, int64_t pixels, float *latent)
{
    int c = m->vae.latent_channels;
    for (int64_t p = 0; p < pixels; p++) {
        for (int i = 0; i < c; i++) {
            float z = moments[p * 2 * c + i], v = moments[p * 2 * c + c + i];
            if (noise && !m->vae.tiny.stages)
                z += expf(0.5f * (v < -30 ? -30 : v > 20 ? 20 : v)) * noise[p * c + i];
            latent[p * c + i] = (z - m->vae.shift_factor) * m->vae.scaling_factor;
        }
    }
}
