// SPDX-License-Identifier: Apache-2.0
#include "pipelines/model.h"

#include "core/base/alloc.h"
#include "core/graph/dry.h"
#include "pipelines/stages.h"

#include <math.h>
#include <string.h>

#define LEFT_OUT 200 // bytes of a prompt that a warning quotes

static bool read_configs(struct at_model *m, unsigned parts)
{
    bool ok = true;
    if (parts & AT_PART_TEXT) {
        struct at_json_doc *doc = at_source_config(m->source, "text_encoder");
        ok = doc && at_clip_config_parse(at_json_root(doc), &m->clip);
        at_json_destroy(&doc);
        ok = ok && (m->tokenizer = at_source_tokenizer(m->source, "tokenizer"));
        if (ok && at_clip_tokenizer_size(m->tokenizer) > m->clip.vocab)
            ok = at_fail(m->log, AT_ERROR_INPUT, "%s: the tokenizer has %d tokens, the text encoder %d", m->path,
                         at_clip_tokenizer_size(m->tokenizer), m->clip.vocab);
    }
    if (ok && parts & AT_PART_UNET) {
        struct at_json_doc *doc = at_source_config(m->source, "unet");
        ok = doc && at_unet_config_parse(at_json_root(doc), &m->unet);
        at_json_destroy(&doc);
        ok = ok && (m->schedule = at_source_schedule(m->source));
    }
    if (ok && parts & AT_PART_VAE) {
        struct at_json_doc *doc = at_source_config(m->source, "vae");
        ok = doc && at_vae_config_parse(at_json_root(doc), &m->vae);
        at_json_destroy(&doc);
    }
    return ok;
}

// The parts must fit together, or a later graph fails with less to say.
static bool check_fit(struct at_model *m, unsigned parts)
{
    if (parts & AT_PART_UNET && m->unet.addition_time)
        return at_fail(m->log, AT_ERROR_INPUT, "%s: models with a second text encoder (SDXL) are not supported yet",
                       m->path);
    if ((parts & (AT_PART_UNET | AT_PART_TEXT)) == (AT_PART_UNET | AT_PART_TEXT))
        for (int i = 0; i < m->unet.blocks; i++)
            if (m->unet.context[i] != m->clip.width)
                return at_fail(m->log, AT_ERROR_INPUT,
                               "%s: unet cross_attention_dim is %d, but text_encoder hidden_size is %d", m->path,
                               m->unet.context[i], m->clip.width);
    if ((parts & (AT_PART_UNET | AT_PART_VAE)) == (AT_PART_UNET | AT_PART_VAE) &&
        (m->unet.in_channels != m->vae.latent_channels || m->unet.out_channels != m->vae.latent_channels))
        return at_fail(m->log, AT_ERROR_INPUT, "%s: unet has %d in_channels and %d out_channels, but vae has %d "
                       "latent_channels", m->path, m->unet.in_channels, m->unet.out_channels, m->vae.latent_channels);
    return true;
}

static bool declare(struct at_model *m, unsigned parts)
{
    struct at_graph *g = at_graph_create(m->log);
    if (!g)
        return false;
    if (parts & AT_PART_TEXT) {
        struct at_builder b = {.g = g, .params = m->text_params};
        struct at_node *ids = at_graph_input(g, "ids", AT_SHAPE(1, m->clip.positions), AT_I32);
        at_clip_text(&b, &m->clip, &(struct at_clip_inputs){.ids = ids}, NULL);
    }
    if (parts & AT_PART_UNET) {
        struct at_builder b = {.g = g, .params = m->unet_params};
        int side = 1 << (m->unet.blocks - 1);
        struct at_unet_inputs in = {
            .x = at_graph_input(g, "x", AT_SHAPE(1, side, side, m->unet.in_channels), AT_F32),
            .t = at_graph_input(g, "t", AT_SHAPE(1), AT_F32),
            .context = at_graph_input(g, "context", AT_SHAPE(1, 1, m->unet.context[0]), AT_F32),
        };
        if (m->unet.guidance_dim)
            in.guidance = at_graph_input(g, "guidance", AT_SHAPE(1, m->unet.guidance_dim), AT_F32);
        at_unet(&b, &m->unet, &in);
    }
    if (parts & AT_PART_VAE) {
        struct at_builder b = {.g = g, .params = m->vae_params};
        int side = at_vae_factor(&m->vae);
        at_vae_encode(&b, &m->vae, at_graph_input(g, "image", AT_SHAPE(1, side, side, m->vae.in_channels), AT_F32));
        at_vae_decode(&b, &m->vae, at_graph_input(g, "z", AT_SHAPE(1, 1, 1, m->vae.latent_channels), AT_F32));
    }
    bool ok = at_graph_ok(g);
    at_graph_destroy(&g);
    return ok;
}

struct part {
    enum at_part bit;
    const char *component;
    struct at_params **params;
};

static bool open_weights(struct at_model *m, const struct part *part, const struct at_model_params *p)
{
    bool fresh = at_is_dry(m->dev) || (p->untrained && (!p->fresh || p->fresh & part->bit));
    struct at_safetensors *file = NULL;
    if (!fresh && !(file = at_source_weights(m->source, part->component)))
        return false;
    if (file && part->bit == AT_PART_TEXT)
        m->clip.bare = at_clip_bare(file);
    static const char *const all[] = {"*", NULL};
    const char *const *ignored = at_source_options(m->source)->allow_unexpected ? all : NULL;
    int replicas = p->trainable & part->bit ? p->replicas > 0 ? p->replicas : 1 : 0;
    bool ok = (*part->params = at_params_create(m->log)) && declare(m, part->bit) &&
              (fresh || at_params_check(*part->params, file, "", ignored)) &&
              (p->check || at_params_allocate(*part->params, m->dev, replicas));
    if (ok && !p->check && !at_is_dry(m->dev))
        ok = fresh ? at_params_init(*part->params, p->seed + part->bit)
                   : at_params_load(*part->params, file, "", ignored);
    at_safetensors_destroy(&file);
    return ok;
}

// A pipeline this program can run.
static bool check_class(struct at_model *m)
{
    const char *class = at_source_class(m->source);
    if (!class || strcmp(class, "StableDiffusionPipeline") == 0 || strcmp(class, "StableDiffusionImg2ImgPipeline") == 0)
        return class;
    return at_json_fail(at_json_get(at_source_index(m->source), "_class_name"), "\"%s\" is not supported, only "
                        "StableDiffusionPipeline (SD 1.x and 2.x with one text encoder)", class);
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
    const struct part list[] = {{AT_PART_TEXT, "text_encoder", &m->text_params},
                                {AT_PART_UNET, "unet", &m->unet_params},
                                {AT_PART_VAE, "vae", &m->vae_params}};
    bool ok = m->source && check_class(m) && read_configs(m, parts) && check_fit(m, parts) &&
              (m->stages = at_model_stages_create(log));
    for (int i = 0; ok && i < 3; i++)
        if (parts & list[i].bit)
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
    at_params_destroy(&m->text_params);
    at_params_destroy(&m->unet_params);
    at_params_destroy(&m->vae_params);
    at_clip_tokenizer_destroy(&m->tokenizer);
    at_schedule_destroy(&m->schedule);
    at_source_destroy(&m->source);
    at_free(m);
    *model = NULL;
}

void at_model_drop(struct at_model *m, unsigned parts)
{
    at_model_stages_drop(m->stages, parts);
    if (parts & AT_PART_TEXT)
        at_params_destroy(&m->text_params);
    if (parts & AT_PART_UNET)
        at_params_destroy(&m->unet_params);
    if (parts & AT_PART_VAE)
        at_params_destroy(&m->vae_params);
}

int at_model_tokens(const struct at_model *m)
{
    int length = (int)at_clip_tokenizer_length(m->tokenizer);
    return length < m->clip.positions ? length : m->clip.positions;
}

bool at_model_tokenize(const struct at_model *m, const char *prompt, int32_t *ids)
{
    struct at_clip_encoding e;
    size_t bytes = strlen(prompt);
    int length = at_model_tokens(m);
    if (!at_clip_tokenizer_encode(m->tokenizer, prompt, bytes, ids, (size_t)length, &e))
        return false;
    if (e.cut < bytes) {
        size_t shown = bytes - e.cut < LEFT_OUT ? bytes - e.cut : LEFT_OUT;
        while (shown < bytes - e.cut && ((unsigned char)prompt[e.cut + shown] & 0xc0) == 0x80)
            shown++; // to the end of a character
        at_warn(m->log, "the prompt has %zu tokens, the model reads %d; left out: \"%.*s\"%s", e.tokens, length,
                (int)shown, prompt + e.cut, e.cut + shown < bytes ? "..." : "");
    }
    return true;
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
