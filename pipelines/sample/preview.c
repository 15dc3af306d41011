// SPDX-License-Identifier: Apache-2.0
#include "pipelines/sample/preview.h"

#include "core/base/alloc.h"
#include "core/graph/dry.h"
#include "pipelines/model/denoiser.h"
#include "pipelines/model/stages.h"
#include "pipelines/model/vae_folder.h"
#include "pipelines/sample/grid.h"
#include "pipelines/sample/sample.h"

#include <math.h>

#define SHEET_SIDE 2048
#define MOST_COST 0.25 // of the steps between two previews

static bool check_vae(struct at_preview *p, const struct at_model *m)
{
    const struct at_vae_config *a = &p->vae->vae, *b = &m->vae;
    if (a->latent_channels != b->latent_channels || a->out_channels != 3)
        return at_fail(m->log, AT_ERROR_INPUT, "%s: makes pictures of %d channels from latents of %d, but the model's "
                       "latents have %d; give an autoencoder for this family of models", p->params.vae, a->out_channels,
                       a->latent_channels, b->latent_channels);
    if (at_vae_factor(a) != at_vae_factor(b))
        return at_fail(m->log, AT_ERROR_INPUT, "%s: a latent is %d pixels wide, but %d in the model; give an autoencoder "
                       "for this family of models", p->params.vae, at_vae_factor(a), at_vae_factor(b));
    return true;
}

struct at_preview *at_preview_open(struct at_model *m, const struct at_preview_params *params)
{
    struct at_preview *p = at_calloc(1, sizeof(*p));
    if (!p) {
        at_fail_memory(m->log, sizeof(*p));
        return NULL;
    }
    p->params = *params;
    bool ok = params->vae ? (p->vae = at_vae_folder_open(m->dev, params->vae, m->log)) && check_vae(p, m)
                          : at_latent_rgb_fit(m, &p->rgb);
    if (!ok) {
        at_fail_unsaid(m->log);
        at_preview_close(&p);
    }
    return p;
}

void at_preview_close(struct at_preview **preview)
{
    if (!*preview)
        return;
    at_model_destroy(&(*preview)->vae);
    at_free(*preview);
    *preview = NULL;
}

// FLOPs of decoding one picture, and of one run of the denoiser on it.
static bool measure(const struct at_model *m, int height, int width, double *decode, double *denoise)
{
    struct at_log quiet = {.level = AT_LEVEL_ERROR, .write = at_log_drop};
    struct at_model copy;
    struct at_denoiser *d = NULL;
    int factor = at_vae_factor(&m->vae);
    size_t latents = (size_t)height * (size_t)width * (size_t)m->vae.latent_channels;
    size_t pixels = (size_t)(height * factor) * (size_t)(width * factor) * (size_t)m->vae.out_channels;
    float *z = at_calloc(latents, sizeof(float)), *image = at_calloc(pixels, sizeof(float));
    bool ok = at_model_try(m, &quiet, &copy);
    copy.vae_tile = 0;
    struct at_denoiser_params one = {.batch = 1, .height = height, .width = width};
    ok = ok && z && image && at_model_decode(&copy, z, 1, height, width, image) &&
              (d = at_denoiser_create(&copy, &one));
    *decode = ok ? at_model_decode_flops(&copy) : 0;
    *denoise = ok ? at_denoiser_flops(d) : 0;
    at_denoiser_destroy(&d);
    at_model_try_end(m, &copy);
    at_free(z);
    at_free(image);
    return ok;
}

bool at_preview_begin(struct at_preview *p, const struct at_model *m, int height, int width, int copies)
{
    double decode, denoise;
    if (p->height == height && p->width == width && p->copies == copies)
        return true;
    p->way = p->vae ? AT_PREVIEW_VAE : AT_PREVIEW_COLOURS;
    if (!p->vae && !p->params.colours && measure(m, height, width, &decode, &denoise) &&
        decode <= MOST_COST * denoise * copies * p->params.every)
        p->way = AT_PREVIEW_FULL;
    p->height = height;
    p->width = width;
    p->copies = copies;
    return true;
}

bool at_preview_try(const struct at_preview *p, struct at_device *dry, struct at_log *log, struct at_preview *out)
{
    *out = *p;
    out->params.show = NULL;
    out->params.every = 1;
    if (!p->vae)
        return true;
    if (!(out->vae = at_calloc(1, sizeof(*out->vae))))
        return at_fail_memory(log, sizeof(*out->vae));
    *out->vae = *p->vae;
    out->vae->dev = dry;
    out->vae->log = log;
    return (out->vae->stages = at_model_stages_create(log));
}

void at_preview_forget(struct at_preview *copy)
{
    if (copy->vae)
        at_model_stages_destroy(&copy->vae->stages);
    at_free(copy->vae);
    copy->vae = NULL;
}

void at_preview_rest(struct at_preview *p)
{
    if (p && p->vae)
        at_model_stages_drop(p->vae->stages, AT_PART_VAE);
}

const char *at_preview_words(const struct at_preview *p)
{
    static const char *const words[] = {"the autoencoder of --preview-vae", "the model's own autoencoder",
                                        "a colour for each latent"};
    return words[p->shown];
}

// Scaled latents to pixels in -1 .. 1; where colours do, one for each latent.
static bool decode(struct at_preview *p, struct at_model *m, const float *x0, int count, float *pixels)
{
    // Where the model works in tiles, memory has no room for a decoder beside the denoiser.
    p->shown = p->way == AT_PREVIEW_FULL && m->vae_tile ? AT_PREVIEW_COLOURS : p->way;
    if (p->shown == AT_PREVIEW_FULL)
        return at_model_decode(m, x0, count, p->height, p->width, pixels);
    if (p->shown == AT_PREVIEW_VAE) {
        p->vae->vae_tile = m->vae_tile;
        return at_model_decode(p->vae, x0, count, p->height, p->width, pixels);
    }
    at_latent_rgb_apply(&p->rgb, x0, (int64_t)count * p->height * p->width, pixels);
    return true;
}

bool at_preview_step(struct at_preview *p, struct at_model *m, const float *x0, int count,
                     const struct at_preview_sheet *at)
{
    if (at->step % p->params.every || at->step == at->steps)
        return true;
    int factor = at_vae_factor(&m->vae), height = p->height * factor, width = p->width * factor;
    float *pixels = at_calloc((size_t)count * (size_t)height * (size_t)width * 3, sizeof(float));
    struct at_preview_sheet sheet = *at;
    bool ok = pixels || at_fail_memory(m->log, (size_t)count * (size_t)height * (size_t)width * 3 * sizeof(float));
    ok = ok && decode(p, m, x0, count, pixels);
    bool colours = p->shown == AT_PREVIEW_COLOURS;
    if (ok && p->params.show && !at_is_dry(m->dev)) {
        struct at_sheet_params sp = {.pixels = pixels, .count = count, .height = colours ? p->height : height,
                                     .width = colours ? p->width : width, .to_height = height, .to_width = width};
        ok = at_sheet_draw(m->log, &sp, &sheet.image) && p->params.show(p->params.priv, &sheet);
        at_image_finish(&sheet.image);
    }
    at_free(pixels);
    return ok || at_fail_unsaid(m->log);
}

// One picture of a sheet.
static bool draw_cell(struct at_log *log, const struct at_sheet_params *p, int i, struct at_image *cell)
{
    struct at_image small = {0};
    size_t n = (size_t)p->height * (size_t)p->width * 3;
    float *unit = at_calloc(n, sizeof(float));
    bool ok = unit || at_fail_memory(log, n * sizeof(float));
    for (size_t k = 0; ok && k < n; k++) {
        float v = p->pixels[(size_t)i * n + k] * 0.5f + 0.5f;
        unit[k] = isnan(v) ? 0.5f : v < 0 ? 0 : v > 1 ? 1 : v;
    }
    ok = ok && at_sample_image(log, unit, p->width, p->height, &small) &&
         at_image_resize(log, &small, p->to_width, p->to_height, cell);
    at_image_finish(&small);
    at_free(unit);
    return ok;
}

bool at_sheet_draw(struct at_log *log, const struct at_sheet_params *p, struct at_image *sheet)
{
    int most = SHEET_SIDE / p->to_width, columns = (int)ceil(sqrt(p->count));
    columns = columns > most ? most : columns;
    columns = columns < 1 ? 1 : columns;
    int rows = (p->count + columns - 1) / columns;
    most = SHEET_SIDE / p->to_height;
    rows = rows > most ? most : rows;
    rows = rows < 1 ? 1 : rows;
    int cells = rows * columns;
    struct at_image *images = at_calloc((size_t)cells, sizeof(*images));
    const struct at_image **list = at_calloc((size_t)cells, sizeof(*list));
    bool ok = (images && list) || at_fail_memory(log, (size_t)cells * sizeof(*images));
    for (int i = 0; ok && i < cells && i < p->count; i++) {
        ok = draw_cell(log, p, i, &images[i]);
        list[i] = &images[i];
    }
    struct at_grid grid = {.rows = (size_t)rows, .columns = (size_t)columns, .images = list};
    ok = ok && at_grid_draw(log, &grid, 0, sheet);
    for (int i = 0; images && i < cells; i++)
        at_image_finish(&images[i]);
    at_free(images);
    at_free(list);
    return ok;
}
