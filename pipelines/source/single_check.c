// SPDX-License-Identifier: Apache-2.0
#include "pipelines/source/single_check.h"

#include "core/base/alloc.h"
#include "pipelines/source/single_config.h"
#include "pipelines/source/single_file.h"
#include "pipelines/source/source_state.h"

#include <math.h>
#include <string.h>

#define OPEN_CLIP_H_WIDTH 1024
#define OPEN_CLIP_H_LAYERS 23 // that SD 2.x reads

const char *const at_single_components[AT_SINGLE_PARTS] = {"unet", "vae", "text_encoder", "text_encoder_2"};

union config {
    struct at_unet_config unet;
    struct at_vae_config vae;
    struct at_clip_config text;
};

// Without what is no part of what the model computes: sizes of pictures when nobody asks for one; where numbers may
// overflow; how ends of texts are found, which all CLIPs do alike.
static bool parse(enum at_single_part part, struct at_json json, union config *c)
{
    memset(c, 0, sizeof(*c));
    bool ok = part == AT_SINGLE_UNET  ? at_unet_config_parse(json, &c->unet)
              : part == AT_SINGLE_VAE ? at_vae_config_parse(json, &c->vae)
                                      : at_clip_config_parse(json, &c->text);
    if (part == AT_SINGLE_UNET)
        c->unet.sample_size = 0;
    else if (part == AT_SINGLE_VAE)
        c->vae.sample_size = 0, c->vae.exact = false;
    else
        c->text.eos = 0;
    return ok;
}

static bool read_text(const struct at_model_source *s, int i, struct at_clip_config *out)
{
    struct at_json_doc *doc = at_source_config(s, at_single_components[AT_SINGLE_TEXT + i]);
    bool ok = doc && at_clip_config_parse(at_json_root(doc), out);
    at_json_destroy(&doc);
    return ok;
}

bool at_single_model_read(const struct at_model_source *s, struct at_single_model *m)
{
    memset(m, 0, sizeof(*m));
    struct at_json_doc *unet = at_source_config(s, "unet"), *vae = unet ? at_source_config(s, "vae") : NULL;
    struct at_schedule *schedule = vae ? at_source_schedule(s) : NULL;
    bool ok = schedule && at_unet_config_parse(at_json_root(unet), &m->unet) &&
              at_vae_config_parse(at_json_root(vae), &m->vae) && read_text(s, 0, &m->text[0]);
    bool xl = ok && m->unet.addition_time > 0;
    ok = ok && (!xl || read_text(s, 1, &m->text[1]));
    if (ok) {
        m->family = s->single ? at_single_family(s->single) : xl ? AT_FAMILY_SDXL
                    : m->text[0].act == AT_ACT_GELU ? AT_FAMILY_SD2 : AT_FAMILY_SD1;
        m->prediction = (int)schedule->config.prediction;
        m->zero_snr = schedule->config.zero_snr;
    }
    at_schedule_destroy(&schedule);
    at_json_destroy(&unet);
    at_json_destroy(&vae);
    return ok;
}

static bool same_with(struct at_log *log, enum at_single_part part, struct at_json own, struct at_json other,
                      const union config *want)
{
    union config c;
    struct at_json_doc *doc = at_json_create(log, false);
    for (struct at_json v = at_json_first(own); doc && v.item; v = at_json_next(v))
        if (strcmp(at_json_key(v), at_json_key(other)) != 0)
            at_json_put_copy(at_json_root(doc), at_json_key(v), v);
    if (doc)
        at_json_put_copy(at_json_root(doc), at_json_key(other), other);
    char *text = doc ? at_json_text(doc, false) : NULL;
    at_json_destroy(&doc);
    doc = text ? at_json_parse(log, "config", text, strlen(text), NULL) : NULL;
    bool same = doc && parse(part, at_json_root(doc), &c) && memcmp(&c, want, sizeof(c)) == 0;
    at_json_destroy(&doc);
    at_free(text);
    return same;
}

// The field of the config that readers would have another value for; NULL: one that they have no value for.
static const char *differing(enum at_single_part part, struct at_json own, struct at_json guess, const union config *want)
{
    struct at_log quiet = {.write = at_log_drop};
    for (struct at_json v = at_json_first(guess); v.item; v = at_json_next(v))
        if (!same_with(&quiet, part, own, v, want))
            return at_json_key(v);
    return NULL;
}

static bool check_part(const struct at_model_source *s, const struct at_single_model *m, enum at_single_part part,
                       const struct at_safetensors *weights)
{
    const char *component = at_single_components[part];
    struct at_single_config_params p = {.name = s->path, .family = m->family, .part = part, .weights = weights,
                                        .v = m->prediction == AT_PREDICTION_V, .projection = m->text[1].projection,
                                        .factor = at_vae_factor(&m->vae)};
    struct at_log quiet = {.write = at_log_drop};
    struct at_json_doc *own = at_source_config(s, component), *guess = own ? at_single_config(&quiet, &p) : NULL;
    union config a, b;
    bool ok = own && parse(part, at_json_root(own), &a);
    if (ok && !(guess && parse(part, at_json_root(guess), &b) && memcmp(&a, &b, sizeof(a)) == 0)) {
        const char *field = differing(part, at_json_root(own), at_json_root(guess), &a);
        ok = at_fail(s->log, AT_ERROR_INPUT, "%s: %s of the %s is not what readers of a single file take for %s, as it "
                     "is not in the file; write a folder instead", s->path, field ? field : "the config", component,
                     at_family_name(m->family));
    }
    at_json_destroy(&own);
    at_json_destroy(&guess);
    return ok;
}

static bool check_schedule(const struct at_model_source *s, const struct at_single_model *m)
{
    const struct at_single_prediction prediction = {.type = at_prediction_names[m->prediction], .zero_snr = m->zero_snr};
    struct at_schedule *own = at_source_schedule(s), *guess = NULL;
    struct at_json_doc *doc = own ? at_single_schedule(s->log, s->path, m->family, &prediction) : NULL;
    char *text = doc ? at_json_text(doc, false) : NULL;
    bool ok = text && (guess = at_schedule_parse(text, strlen(text), s->path, s->log));
    bool same = ok && own->config.train_steps == guess->config.train_steps;
    for (int i = 0; same && i < own->config.train_steps; i++)
        same = fabs((double)own->alphas[i] - (double)guess->alphas[i]) <= 1e-6;
    if (ok && (!same || m->prediction == AT_PREDICTION_SAMPLE))
        ok = at_fail(s->log, AT_ERROR_INPUT, "%s: %s is not that of %s, which readers of a single file take; write a "
                     "folder instead", s->path, same ? "the prediction (sample)" : "the noise schedule",
                     at_family_name(m->family));
    at_schedule_destroy(&own);
    at_schedule_destroy(&guess);
    at_json_destroy(&doc);
    at_free(text);
    return ok;
}

bool at_single_model_check(const struct at_model_source *s, const struct at_single_model *m,
                           struct at_safetensors *const weights[AT_SINGLE_PARTS])
{
    const char *what = m->vae.tiny.stages > 0    ? "its autoencoder is an AutoencoderTiny"
                       : m->unet.guidance_dim > 0 ? "it is a latent consistency model, which reads the guidance scale"
                       : m->family == AT_FAMILY_SD2 && m->text[0].width == OPEN_CLIP_H_WIDTH &&
                               m->text[0].layers != OPEN_CLIP_H_LAYERS
                           ? "its text encoder has not the 23 layers that SD 2.x reads" : NULL;
    if (what)
        return at_fail(s->log, AT_ERROR_INPUT, "%s: %s; the layout of a single file has no place for that, so write a "
                       "folder instead", s->path, what);
    bool ok = check_schedule(s, m);
    for (int i = 0; ok && i < AT_SINGLE_PARTS; i++)
        ok = !weights[i] || check_part(s, m, (enum at_single_part)i, weights[i]);
    return ok;
}
